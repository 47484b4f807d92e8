/* Elementary functions of eight numbers of double precision: one source, explicit fused multiply-adds, no tables.

   Bounds of the error, in units in the last place of the result (measured by the tests over the whole range):
   expv, logv, expm1v, tanhv, sinv, cosv below 1.5 in double precision; rounded to single precision, below 0.51.
   Infinities and NaN are what IEEE 754 says; results below the normal range lose precision gradually. */

typedef double D8 __attribute__((vector_size(64), aligned(8), may_alias));
typedef int64_t I8 __attribute__((vector_size(64)));

static inline D8 d8(double x) { return (D8){x, x, x, x, x, x, x, x}; }
static inline I8 i8(int64_t x) { return (I8){x, x, x, x, x, x, x, x}; }
static inline D8 fma8(D8 a, D8 b, D8 c) { return __builtin_elementwise_fma(a, b, c); }
static inline D8 pick(I8 mask, D8 yes, D8 no) { return (D8)((mask & (I8)yes) | (~mask & (I8)no)); }

static const double LN2_HI = 0x1.62e42fefa0000p-1, LN2_LO = 0x1.cf79abc9e3b3ap-40; /* ln 2 in 40 bits, and the rest */
static const double LOG2_E = 0x1.71547652b82fep+0;
static const double TWO_OVER_PI = 0x1.45f306dc9c883p-1, HALF_PI_HI = 0x1.921fb54442d18p+0, HALF_PI_LO = 0x1.1a62633145c07p-54, HALF_PI_REST = -0x1.f1976b7ed8fbcp-110;
static const double ROUND = 0x1.8p52; /* adding and subtracting it rounds to a whole number */

/* x = k ln 2 + r with |r| <= ln 2 / 2; returns r. */
static inline D8 reduced(D8 x, D8 *k, I8 *whole) {
  D8 shifted = fma8(x, d8(LOG2_E), d8(ROUND));
  *whole = (I8)shifted - (I8)d8(ROUND);
  *k = shifted - d8(ROUND);
  return fma8(-*k, d8(LN2_LO), fma8(-*k, d8(LN2_HI), x));
}

/* (e^r - 1 - r) / r^2 by its series, for |r| <= ln 2 / 2: the first term left out is below 2^-57. */
static inline D8 series(D8 r) {
  D8 p = d8(1.0 / 87178291200.0);
  p = fma8(p, r, d8(1.0 / 6227020800.0));
  p = fma8(p, r, d8(1.0 / 479001600.0));
  p = fma8(p, r, d8(1.0 / 39916800.0));
  p = fma8(p, r, d8(1.0 / 3628800.0));
  p = fma8(p, r, d8(1.0 / 362880.0));
  p = fma8(p, r, d8(1.0 / 40320.0));
  p = fma8(p, r, d8(1.0 / 5040.0));
  p = fma8(p, r, d8(1.0 / 720.0));
  p = fma8(p, r, d8(1.0 / 120.0));
  p = fma8(p, r, d8(1.0 / 24.0));
  p = fma8(p, r, d8(1.0 / 6.0));
  return fma8(p, r, d8(0.5));
}

static inline D8 power_of_two(I8 k) { return (D8)((k + i8(1023)) << i8(52)); }

static inline D8 expv(D8 x) {
  D8 k, clamped = pick(x > d8(710), d8(710), pick(x < d8(-746), d8(-746), x));
  I8 whole;
  D8 r = reduced(clamped, &k, &whole);
  D8 e = fma8(series(r) * r, r, r) + d8(1);
  I8 half = whole >> i8(1); /* in two steps, since 2^k may lie outside of the range where e 2^k does not */
  D8 y = e * power_of_two(half) * power_of_two(whole - half);
  return pick(x != x, x, y);
}

static inline D8 expm1v(D8 x) {
  D8 k, clamped = pick(x > d8(710), d8(710), pick(x < d8(-60), d8(-60), x));
  I8 whole;
  D8 r = reduced(clamped, &k, &whole);
  D8 e = fma8(series(r) * r, r, r); /* e^r - 1 */
  I8 half = whole >> i8(1);
  D8 a = power_of_two(half), b = power_of_two(whole - half);
  D8 scale = a * b;
  D8 small = fma8(scale, e, scale - d8(1));
  D8 y = pick(whole > i8(60), (e + d8(1)) * a * b, small);
  y = pick((whole == i8(0)), e, y);
  y = pick(x == d8(0), x, y); /* keeps the sign of zero */
  return pick(x != x, x, y);
}

static inline D8 logv(D8 x) {
  I8 tiny = x < d8(0x1p-1022);
  D8 scaled = pick(tiny, x * d8(0x1p54), x);
  I8 bits = (I8)scaled;
  I8 shift = (bits - (I8)d8(0x1.6a09e667f3bcdp-1)) >> i8(52); /* mantissas from sqrt(1/2) to sqrt(2) */
  D8 m = (D8)(bits - (shift << i8(52)));
  I8 exponent = shift - (tiny & i8(54));
  D8 k = (D8)(exponent + (I8)d8(ROUND)) - d8(ROUND);
  D8 f = m - d8(1), s = f / (d8(2) + f), z = s * s;
  D8 p = d8(2.0 / 25);
  p = fma8(p, z, d8(2.0 / 23));
  p = fma8(p, z, d8(2.0 / 21));
  p = fma8(p, z, d8(2.0 / 19));
  p = fma8(p, z, d8(2.0 / 17));
  p = fma8(p, z, d8(2.0 / 15));
  p = fma8(p, z, d8(2.0 / 13));
  p = fma8(p, z, d8(2.0 / 11));
  p = fma8(p, z, d8(2.0 / 9));
  p = fma8(p, z, d8(2.0 / 7));
  p = fma8(p, z, d8(2.0 / 5));
  p = fma8(p, z, d8(2.0 / 3)) * z; /* log(1 + f) = f - s (f - p), since f - s f = 2 s */
  D8 square = d8(0.5) * f * f;
  D8 y = fma8(k, d8(LN2_HI), f - (square - fma8(s, square + p, k * d8(LN2_LO))));
  double infinity = __builtin_inf(), nan = __builtin_nan("");
  y = pick(x == d8(0), d8(-infinity), y);
  y = pick(x == d8(infinity), x, y);
  y = pick(x < d8(0), d8(nan), y);
  return pick(x != x, x, y);
}

static inline D8 tanhv(D8 x) {
  D8 magnitude = (D8)((I8)x & i8(INT64_MAX));
  D8 e = expm1v(d8(-2) * pick(magnitude > d8(20), d8(20), magnitude)); /* e^(-2|x|) - 1 */
  D8 y = -e / (e + d8(2));
  y = (D8)((I8)y | ((I8)x & i8(INT64_MIN)));
  return pick(x != x, x, y);
}
/* x = k pi/2 + r + tail with |r| <= pi/4, for |x| <= 2^30; the products of k are split into what is exact and the rest. */
static inline D8 quarter_turns(D8 x, I8 *k, D8 *tail) {
  D8 shifted = fma8(x, d8(TWO_OVER_PI), d8(ROUND));
  *k = (I8)shifted - (I8)d8(ROUND);
  D8 turns = shifted - d8(ROUND), most = turns * d8(HALF_PI_HI);
  D8 first = -fma8(turns, d8(HALF_PI_HI), -most), second = -turns * d8(HALF_PI_LO);
  D8 near = x - most, sum = near + first, lost = first - (sum - near);
  D8 r = sum + second, back = r - sum;
  D8 missed = fma8(turns, d8(HALF_PI_LO), second); /* by the product of the second part: what its rounding took */
  *tail = lost + ((sum - (r - back)) + (second - back)) - fma8(turns, d8(HALF_PI_REST), missed);
  return r;
}

/* sin(r + tail) and cos(r + tail) for |r| <= pi/4, by their series. */
static inline D8 sine(D8 r, D8 tail) {
  D8 z = r * r, p = d8(-1.0 / 121645100408832000.0);
  p = fma8(p, z, d8(1.0 / 355687428096000.0));
  p = fma8(p, z, d8(-1.0 / 1307674368000.0));
  p = fma8(p, z, d8(1.0 / 6227020800.0));
  p = fma8(p, z, d8(-1.0 / 39916800.0));
  p = fma8(p, z, d8(1.0 / 362880.0));
  p = fma8(p, z, d8(-1.0 / 5040.0));
  p = fma8(p, z, d8(1.0 / 120.0));
  p = fma8(p, z, d8(-1.0 / 6.0));
  return r + fma8(p * z, r, tail * fma8(z, d8(-0.5), d8(1)));
}

static inline D8 cosine(D8 r, D8 tail) {
  D8 z = r * r, p = d8(1.0 / 2432902008176640000.0);
  p = fma8(p, z, d8(-1.0 / 6402373705728000.0));
  p = fma8(p, z, d8(1.0 / 20922789888000.0));
  p = fma8(p, z, d8(-1.0 / 87178291200.0));
  p = fma8(p, z, d8(1.0 / 479001600.0));
  p = fma8(p, z, d8(-1.0 / 3628800.0));
  p = fma8(p, z, d8(1.0 / 40320.0));
  p = fma8(p, z, d8(-1.0 / 720.0));
  p = fma8(p, z, d8(1.0 / 24.0));
  D8 half = d8(0.5) * z, c = d8(1) - half;
  return c + (((d8(1) - c) - half) + fma8(p * z, z, -r * tail));
}

/* sin(x + turns pi/2); NaN beyond 2^30 in size. */
static inline D8 wave(D8 x, int64_t turns) {
  I8 k;
  D8 tail, r = quarter_turns(x, &k, &tail);
  k += i8(turns);
  D8 y = pick((k & i8(1)) == i8(1), cosine(r, tail), sine(r, tail));
  y = (D8)((I8)y ^ ((k & i8(2)) << i8(62)));
  D8 size = (D8)((I8)x & i8(INT64_MAX));
  return pick(size <= d8(0x1p30), y, d8(__builtin_nan("")));
}
static inline D8 sinv(D8 x) { return pick(x == d8(0), x, wave(x, 0)); /* keeps the sign of zero */ }
static inline D8 cosv(D8 x) { return wave(x, 1); }

static inline D8 sqrtv(D8 x) { return __builtin_elementwise_sqrt(x); }

/* Arrays of n numbers; y may be x. */
#define MAP(function)                                                            \
  void function##_f64(int64_t n, const double *x, double *y) {                   \
    for (int64_t i = 0; i < n; i += 8) {                                         \
      int64_t rest = n - i < 8 ? n - i : 8;                                      \
      D8 v = d8(1);                                                              \
      memcpy(&v, x + i, 8 * rest);                                               \
      v = function##v(v);                                                        \
      memcpy(y + i, &v, 8 * rest);                                               \
    }                                                                            \
  }                                                                              \
  void function##_f32(int64_t n, const float *x, float *y) {                     \
    for (int64_t i = 0; i < n; i += 8) {                                         \
      int64_t rest = n - i < 8 ? n - i : 8;                                      \
      D8 v = d8(1);                                                              \
      for (int64_t j = 0; j < rest; j++) v[j] = x[i + j];                        \
      v = function##v(v);                                                        \
      for (int64_t j = 0; j < rest; j++) y[i + j] = (float)v[j];                 \
    }                                                                            \
  }
MAP(exp)
MAP(log)
MAP(expm1)
MAP(tanh)
MAP(sqrt)
MAP(sin)
MAP(cos)

/* log of the softmax over A logits, the middle of three axes (S, A, B). */
#define LOG_SOFTMAX(name, real)                                                                     \
  void name(int64_t S, int64_t A, int64_t B, const real *x, real *y) {                              \
    for (int64_t s = 0; s < S; s++)                                                                 \
      for (int64_t b = 0; b < B; b += 8) {                                                          \
        int64_t rest = B - b < 8 ? B - b : 8;                                                       \
        const real *in = x + s * A * B + b;                                                         \
        real *out = y + s * A * B + b;                                                              \
        D8 most = d8(0), sum = d8(0);                                                               \
        for (int64_t j = 0; j < rest; j++) most[j] = in[j];                                         \
        for (int64_t a = 1; a < A; a++) {                                                           \
          D8 v = most;                                                                              \
          for (int64_t j = 0; j < rest; j++) v[j] = in[a * B + j];                                  \
          most = pick(v > most, v, most);                                                           \
        }                                                                                           \
        for (int64_t a = 0; a < A; a++) {                                                           \
          D8 v = most;                                                                              \
          for (int64_t j = 0; j < rest; j++) v[j] = in[a * B + j];                                  \
          sum += expv(v - most);                                                                    \
        }                                                                                           \
        D8 log_sum = logv(sum);                                                                     \
        for (int64_t a = 0; a < A; a++)                                                             \
          for (int64_t j = 0; j < rest; j++) out[a * B + j] = (real)(in[a * B + j] - most[j] - log_sum[j]); \
      }                                                                                             \
  }
LOG_SOFTMAX(log_softmax_f32, float)
LOG_SOFTMAX(log_softmax_f64, double)
