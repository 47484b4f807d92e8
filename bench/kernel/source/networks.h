/* The passes of stacked networks for one type of number; kernel.c includes this once for each.

   REAL   the type of number; LANES of them make a vector VEC of 64 bytes, whatever the processor's registers hold
   NAMED  the name of a function for that type

   The orders of sums:
   - a hidden layer begins with the bias and adds input after input, each with one fused multiply-add;
   - an output adds LANES partial sums in parallel, folds them in halves (`fold`), and adds the bias;
   - an error going down adds output after output, from zero; a gradient adds sample after sample, from zero.
   Padding is zeros, and a product with zero added changes no sum. */

#define LANES ((int)(64 / sizeof(REAL)))
#define TILE 6    /* samples, or outputs, whose sums are kept in registers at once */
#define CHUNK 48  /* samples whose errors are kept in the first cache at once */


static inline VEC NAMED(load)(const REAL *p) { return *(const VEC *)p; }
static inline void NAMED(store)(REAL *p, VEC v) { *(VEC *)p = v; }
static inline VEC NAMED(splat)(REAL x) {
  VEC v;
  for (int i = 0; i < LANES; i++) v[i] = x;
  return v;
}
static inline VEC NAMED(fma)(VEC a, VEC b, VEC c) { return __builtin_elementwise_fma(a, b, c); }

static inline REAL NAMED(fold)(VEC v) {
  REAL s[LANES];
  NAMED(store)(s, v);
  for (int width = LANES / 2; width > 0; width /= 2)
    for (int i = 0; i < width; i++) s[i] += s[i + width];
  return s[0];
}

static inline int64_t NAMED(padded)(int64_t n) { return (n + LANES - 1) / LANES * LANES; }

/* C[t][0..h) = tanh(bias + sum over k of X[t][k] * W[k][0..h)) for N samples; h is a multiple of LANES. */
#define LAYER(N)                                                                                                    \
  static inline void NAMED(layer##N)(REAL *C, int64_t h, const REAL *X, int64_t feature, int64_t sample, int64_t K,    \
                                  const REAL *W, const REAL *bias) {                                                \
    for (int64_t j = 0; j < h; j += LANES) {                                                                        \
      VEC sum[N];                                                                                                   \
      for (int t = 0; t < N; t++) sum[t] = NAMED(load)(bias + j);                                                      \
      for (int64_t k = 0; k < K; k++) {                                                                             \
        VEC w = NAMED(load)(W + k * h + j);                                                                            \
        _Pragma("unroll") for (int t = 0; t < N; t++)                                                               \
            sum[t] = NAMED(fma)(NAMED(splat)(X[t * sample + k * feature]), w, sum[t]);                                    \
      }                                                                                                             \
      for (int t = 0; t < N; t++) NAMED(store)(C + t * h + j, NAMED(tanh_of_vector)(sum[t]));                                      \
    }                                                                                                               \
  }
LAYER(6)
LAYER(5)
LAYER(4)
LAYER(3)
LAYER(2)
LAYER(1)

static void NAMED(layer)(int n, REAL *C, int64_t h, const REAL *X, int64_t feature, int64_t sample, int64_t K, const REAL *W,
                      const REAL *bias) {
  switch (n) {
    case 6: NAMED(layer6)(C, h, X, feature, sample, K, W, bias); break;
    case 5: NAMED(layer5)(C, h, X, feature, sample, K, W, bias); break;
    case 4: NAMED(layer4)(C, h, X, feature, sample, K, W, bias); break;
    case 3: NAMED(layer3)(C, h, X, feature, sample, K, W, bias); break;
    case 2: NAMED(layer2)(C, h, X, feature, sample, K, W, bias); break;
    default: NAMED(layer1)(C, h, X, feature, sample, K, W, bias);
  }
}

/* E[t][0..k) = (sum over o of D[t][o] * W[o][0..k)) * (1 - A[t][0..k)^2) for N samples. */
#define ERRORS(N)                                                                                                   \
  static inline void NAMED(errors##N)(REAL *E, int64_t k, const REAL *D, int64_t feature, int64_t sample, int64_t O,   \
                                   const REAL *W, const REAL *A) {                                                  \
    for (int64_t j = 0; j < k; j += LANES) {                                                                        \
      VEC sum[N];                                                                                                   \
      for (int t = 0; t < N; t++) sum[t] = NAMED(splat)(0);                                                            \
      for (int64_t o = 0; o < O; o++) {                                                                             \
        VEC w = NAMED(load)(W + o * k + j);                                                                            \
        _Pragma("unroll") for (int t = 0; t < N; t++)                                                               \
            sum[t] = NAMED(fma)(NAMED(splat)(D[t * sample + o * feature]), w, sum[t]);                                    \
      }                                                                                                             \
      for (int t = 0; t < N; t++) {                                                                                 \
        VEC a = NAMED(load)(A + t * k + j);                                                                            \
        NAMED(store)(E + t * k + j, sum[t] * NAMED(fma)(-a, a, NAMED(splat)(1)));                                            \
      }                                                                                                             \
    }                                                                                                               \
  }
ERRORS(6)
ERRORS(1)

static void NAMED(errors)(int64_t T, REAL *E, int64_t k, const REAL *D, int64_t feature, int64_t sample, int64_t O,
                       const REAL *W, const REAL *A) {
  int64_t t = 0;
  for (; t + TILE <= T; t += TILE) NAMED(errors6)(E + t * k, k, D + t * sample, feature, sample, O, W, A + t * k);
  for (; t < T; t++) NAMED(errors1)(E + t * k, k, D + t * sample, feature, sample, O, W, A + t * k);
}

/* G[i][0..k) += sum over t of D[t][i] * A[t][0..k), for N rows of G. */
#define OUTER(N)                                                                                                    \
  static inline void NAMED(outer##N)(REAL *G, int64_t k, int64_t T, const REAL *D, int64_t feature, int64_t sample,    \
                                  const REAL *A) {                                                                  \
    for (int64_t j = 0; j < k; j += LANES) {                                                                        \
      VEC sum[N];                                                                                                   \
      for (int i = 0; i < N; i++) sum[i] = NAMED(load)(G + i * k + j);                                                 \
      for (int64_t t = 0; t < T; t++) {                                                                             \
        VEC a = NAMED(load)(A + t * k + j);                                                                            \
        _Pragma("unroll") for (int i = 0; i < N; i++)                                                               \
            sum[i] = NAMED(fma)(NAMED(splat)(D[t * sample + i * feature]), a, sum[i]);                                    \
      }                                                                                                             \
      for (int i = 0; i < N; i++) NAMED(store)(G + i * k + j, sum[i]);                                                 \
    }                                                                                                               \
  }
OUTER(6)
OUTER(4)
OUTER(1)

static void NAMED(outer)(int64_t rows, REAL *G, int64_t k, int64_t T, const REAL *D, int64_t feature, int64_t sample,
                      const REAL *A) {
  int64_t i = 0;
  for (; i + 6 <= rows; i += 6) NAMED(outer6)(G + i * k, k, T, D + i * feature, feature, sample, A);
  for (; i + 4 <= rows; i += 4) NAMED(outer4)(G + i * k, k, T, D + i * feature, feature, sample, A);
  for (; i < rows; i++) NAMED(outer1)(G + i * k, k, T, D + i * feature, feature, sample, A);
}

/* g[0..n) += sum over t of D[t][0..n). */
static void NAMED(column_sums)(REAL *g, int64_t n, int64_t T, const REAL *D) {
  for (int64_t j = 0; j < n; j += LANES) {
    VEC sum = NAMED(load)(g + j);
    for (int64_t t = 0; t < T; t++) sum += NAMED(load)(D + t * n + j);
    NAMED(store)(g + j, sum);
  }
}

/* The parameters of one replica, copied into rows of whole vectors, and what is computed from them. */
typedef struct {
  int64_t depth, inputs, outputs, features; /* features: of the last hidden layer, or the inputs, padded */
  const int64_t *widths;                    /* of the hidden layers */
} NAMED(Shape);

static int64_t NAMED(in_of)(const NAMED(Shape) *s, int64_t l) { return l == 0 ? s->inputs : s->widths[l - 1]; }

/* Rows of a matrix (rows, columns), each padded with zeros to `width`. */
static void NAMED(pad_rows)(REAL *to, int64_t width, const REAL *from, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; r++) {
    memcpy(to + r * width, from + r * columns, sizeof(REAL) * columns);
    memset(to + r * width + columns, 0, sizeof(REAL) * (width - columns));
  }
}

/* The transpose (columns, rows) of a matrix (rows, columns), each row of it padded with zeros to `width`. */
static void NAMED(transpose)(REAL *to, int64_t width, const REAL *from, int64_t rows, int64_t columns) {
  if (width > rows) memset(to, 0, sizeof(REAL) * width * columns);
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = 0; c < columns; c++) to[c * width + r] = from[r * columns + c];
}

static int64_t NAMED(most)(int64_t a, int64_t b) { return a > b ? a : b; }

int64_t NAMED(hidden_size)(int64_t B, int64_t depth, const int64_t *widths) {
  int64_t size = 0;
  for (int64_t l = 0; l < depth; l++) size += B * NAMED(padded)(widths[l]);
  return size;
}

static NAMED(Shape) NAMED(shape_of)(int64_t depth, int64_t inputs, const int64_t *widths, int64_t outputs) {
  return (NAMED(Shape)){depth, inputs, outputs, NAMED(padded)(depth ? widths[depth - 1] : inputs), widths};
}

static int64_t NAMED(per_sample)(const NAMED(Shape) *s) { return NAMED(hidden_size)(1, s->depth, s->widths); }

/* Numbers of working memory that `forward` and `backward` need. */
int64_t NAMED(workspace)(int64_t depth, int64_t inputs, const int64_t *widths, int64_t outputs) {
  NAMED(Shape) s = NAMED(shape_of)(depth, inputs, widths, outputs);
  int64_t weights = 0, widest = NAMED(padded)(inputs), errors;
  for (int64_t l = 0; l < depth; l++) {
    int64_t in = NAMED(in_of)(&s, l), out = widths[l];
    weights += 2 * NAMED(padded)(in) * NAMED(padded)(out) + 2 * NAMED(padded)(out);
    widest = NAMED(most)(widest, NAMED(padded)(out));
  }
  weights += 2 * outputs * s.features + NAMED(padded)(outputs);
  errors = CHUNK * (2 * widest + NAMED(padded)(inputs) + NAMED(padded)(outputs));
  return weights + errors + 8 * LANES;
}

/* Copy the parameters p of one replica as `pass` reads them: weights transposed, everything in rows of whole vectors. */
static void NAMED(pack_one)(const NAMED(Shape) *s, const REAL *p, REAL *packed) {
  for (int64_t l = 0; l < s->depth; l++) {
    int64_t in = NAMED(in_of)(s, l), n = s->widths[l], width = NAMED(padded)(n);
    NAMED(transpose)(packed, width, p, n, in);
    NAMED(pad_rows)(packed + in * width, width, p + n * in, 1, n);
    packed += (in + 1) * width;
    p += n * in + n;
  }
  int64_t last = s->depth ? s->widths[s->depth - 1] : s->inputs;
  NAMED(pad_rows)(packed, s->features, p, s->outputs, last);
  memcpy(packed + s->outputs * s->features, p + s->outputs * last, sizeof(REAL) * s->outputs);
}

static int64_t NAMED(packed_size_of)(const NAMED(Shape) *s) {
  int64_t size = s->outputs * s->features + NAMED(padded)(s->outputs);
  for (int64_t l = 0; l < s->depth; l++) size += (NAMED(in_of)(s, l) + 1) * NAMED(padded)(s->widths[l]);
  return NAMED(padded)(size);
}

int64_t NAMED(packed_size)(int64_t depth, int64_t inputs, const int64_t *widths, int64_t outputs) {
  NAMED(Shape) s = NAMED(shape_of)(depth, inputs, widths, outputs);
  return NAMED(packed_size_of)(&s);
}

void NAMED(pack)(int64_t S, int64_t P, int64_t depth, int64_t inputs, const int64_t *widths, int64_t outputs, const REAL *flat,
                 REAL *packed) {
  NAMED(Shape) s = NAMED(shape_of)(depth, inputs, widths, outputs);
  for (int64_t r = 0; r < S; r++) NAMED(pack_one)(&s, flat + r * P, packed + r * NAMED(packed_size_of)(&s));
}

/* The forward pass of one replica from its packed parameters; X and Y are addressed by strides of number and sample. */
static void NAMED(pass_one)(const NAMED(Shape) *s, int64_t B, const REAL *packed, const REAL *X, int64_t feature_of_X,
                            int64_t sample_of_X, REAL *H, REAL *Y, int64_t number_of_Y, int64_t sample_of_Y, REAL *row) {
  const REAL *W[MAX_DEPTH], *bias[MAX_DEPTH];
  int64_t depth = s->depth;
  for (int64_t l = 0; l < depth; l++) {
    W[l] = packed;
    bias[l] = packed + NAMED(in_of)(s, l) * NAMED(padded)(s->widths[l]);
    packed = bias[l] + NAMED(padded)(s->widths[l]);
  }
  const REAL *head = packed, *head_bias = packed + s->outputs * s->features; /* row: inputs, where there is no hidden layer */
  for (int64_t t = 0; t < B; t += TILE) {
    int n = B - t < TILE ? (int)(B - t) : TILE;
    const REAL *a = X + t * sample_of_X;
    int64_t feature = feature_of_X, sample = sample_of_X, done = 0;
    for (int64_t l = 0; l < depth; l++) {
      int64_t width = NAMED(padded)(s->widths[l]);
      REAL *C = H + done * B + t * width;
      NAMED(layer)(n, C, width, a, feature, sample, NAMED(in_of)(s, l), W[l], bias[l]);
      a = C, feature = 1, sample = width;
      done += width;
    }
    for (int i = 0; i < n; i++) {
      const REAL *h = a + i * sample;
      if (depth == 0) {
        for (int64_t k = 0; k < s->features; k++) row[k] = k < s->inputs ? h[k * feature] : 0;
        h = row;
      }
      for (int64_t o = 0; o < s->outputs; o++) {
        VEC sum = NAMED(splat)(0);
        for (int64_t j = 0; j < s->features; j += LANES)
          sum = NAMED(fma)(NAMED(load)(head + o * s->features + j), NAMED(load)(h + j), sum);
        Y[o * number_of_Y + (t + i) * sample_of_Y] = NAMED(fold)(sum) + head_bias[o];
      }
    }
  }
}

/* The forward pass of one replica: p are its parameters. */
static void NAMED(forward_one)(const NAMED(Shape) *s, int64_t B, const REAL *p, const REAL *X, int64_t feature_of_X,
                               int64_t sample_of_X, REAL *H, REAL *Y, int64_t number_of_Y, int64_t sample_of_Y, REAL *free) {
  NAMED(pack_one)(s, p, free);
  NAMED(pass_one)(s, B, free, X, feature_of_X, sample_of_X, H, Y, number_of_Y, sample_of_Y, free + NAMED(packed_size_of)(s));
}

void NAMED(forward)(int64_t S, int64_t B, int64_t P, int64_t depth, int64_t inputs, const int64_t *widths, int64_t outputs,
                 const REAL *flat, const REAL *x, const int64_t *xs, REAL *hidden, REAL *out, const int64_t *os, REAL *work) {
  NAMED(Shape) s = NAMED(shape_of)(depth, inputs, widths, outputs);
  int64_t per_sample = NAMED(per_sample)(&s);
  for (int64_t r = 0; r < S; r++)
    NAMED(forward_one)(&s, B, flat + r * P, x + r * xs[0], xs[1], xs[2], hidden + r * B * per_sample, out + r * os[0], os[1],
                       os[2], work);
}

/* The backward pass of one replica, into its gradient g. */
static void NAMED(backward_one)(const NAMED(Shape) *s, int64_t B, const REAL *p, const REAL *X, int64_t feature_of_X,
                                int64_t sample_of_X, const REAL *H, const REAL *D, int64_t number_of_D, int64_t sample_of_D,
                                REAL *g, REAL *free) {
  int64_t depth = s->depth, per_sample = NAMED(per_sample)(s), widest = NAMED(padded)(s->inputs);
  for (int64_t l = 0; l < depth; l++) widest = NAMED(most)(widest, NAMED(padded)(s->widths[l]));
  int64_t in_width = NAMED(padded)(s->inputs), out_width = NAMED(padded)(s->outputs);
  const REAL *W[MAX_DEPTH];
  REAL *G[MAX_DEPTH], *g_bias[MAX_DEPTH];
  int by_input[MAX_DEPTH]; /* whether the gradient's rows are inputs: fewer vectors, the same sums */
  for (int64_t l = 0; l < depth; l++) {
    int64_t in = NAMED(in_of)(s, l), n = s->widths[l], width = NAMED(padded)(n), k = NAMED(padded)(in);
    W[l] = p;
    if (k > in && l > 0) {
      NAMED(pad_rows)(free, k, p, n, in);
      W[l] = free;
      free += n * k;
    }
    by_input[l] = in * width < n * k;
    G[l] = free;
    int64_t size = by_input[l] ? in * width : n * k;
    memset(G[l], 0, sizeof(REAL) * size);
    free += size;
    g_bias[l] = free;
    memset(free, 0, sizeof(REAL) * width);
    free += width;
    p += n * in + n;
  }
  int64_t last = depth ? s->widths[depth - 1] : s->inputs;
  const REAL *head = p;
  if (s->features > last) {
    NAMED(pad_rows)(free, s->features, p, s->outputs, last);
    head = free;
    free += s->outputs * s->features;
  }
  REAL *g_head = free, *g_head_bias = g_head + s->outputs * s->features;
  memset(g_head, 0, sizeof(REAL) * (s->outputs * s->features + out_width));
  REAL *upper = g_head_bias + out_width, *lower = upper + CHUNK * widest, *rows = lower + CHUNK * widest,
       *errors = rows + CHUNK * in_width;
  for (int64_t t0 = 0; t0 < B; t0 += CHUNK) {
    int64_t T = B - t0 < CHUNK ? B - t0 : CHUNK;
    for (int64_t t = 0; t < T; t++) { /* this chunk's inputs and errors of outputs, in rows of whole vectors */
      for (int64_t k = 0; k < in_width; k++) rows[t * in_width + k] = k < s->inputs ? X[(t0 + t) * sample_of_X + k * feature_of_X] : 0;
      for (int64_t o = 0; o < out_width; o++) errors[t * out_width + o] = o < s->outputs ? D[(t0 + t) * sample_of_D + o * number_of_D] : 0;
    }
    int64_t done = per_sample - (depth ? s->features : 0);
    const REAL *below = depth ? H + done * B + t0 * s->features : rows;
    NAMED(outer)(s->outputs, g_head, s->features, T, errors, 1, out_width, below);
    NAMED(column_sums)(g_head_bias, out_width, T, errors);
    if (depth) NAMED(errors)(T, upper, s->features, errors, 1, out_width, s->outputs, head, below);
    for (int64_t l = depth - 1; l >= 0; l--) {
      int64_t in = NAMED(in_of)(s, l), width = NAMED(padded)(s->widths[l]), k = NAMED(padded)(in);
      const REAL *a = rows;
      if (l > 0) {
        done -= k;
        a = H + done * B + t0 * k;
      }
      NAMED(column_sums)(g_bias[l], width, T, upper);
      if (by_input[l])
        NAMED(outer)(in, G[l], width, T, a, 1, k, upper);
      else
        NAMED(outer)(s->widths[l], G[l], k, T, upper, 1, width, a);
      if (l > 0) {
        NAMED(errors)(T, lower, k, upper, 1, width, s->widths[l], W[l], a);
        REAL *other = upper;
        upper = lower, lower = other;
      }
    }
  }
  for (int64_t l = 0; l < depth; l++) {
    int64_t in = NAMED(in_of)(s, l), n = s->widths[l], width = NAMED(padded)(n), k = NAMED(padded)(in);
    for (int64_t i = 0; i < n; i++)
      for (int64_t c = 0; c < in; c++) g[i * in + c] = by_input[l] ? G[l][c * width + i] : G[l][i * k + c];
    memcpy(g + n * in, g_bias[l], sizeof(REAL) * n);
    g += n * in + n;
  }
  for (int64_t o = 0; o < s->outputs; o++) memcpy(g + o * last, g_head + o * s->features, sizeof(REAL) * last);
  memcpy(g + s->outputs * last, g_head_bias, sizeof(REAL) * s->outputs);
}

void NAMED(backward)(int64_t S, int64_t B, int64_t P, int64_t depth, int64_t inputs, const int64_t *widths, int64_t outputs,
                  const REAL *flat, const REAL *x, const int64_t *xs, const REAL *hidden, const REAL *d_out,
                  const int64_t *ds, REAL *grad, REAL *work) {
  NAMED(Shape) s = NAMED(shape_of)(depth, inputs, widths, outputs);
  int64_t per_sample = NAMED(per_sample)(&s);
  for (int64_t r = 0; r < S; r++)
    NAMED(backward_one)(&s, B, flat + r * P, x + r * xs[0], xs[1], xs[2], hidden + r * B * per_sample, d_out + r * ds[0], ds[1],
                        ds[2], grad + r * P, work);
}

#undef TILE
#undef CHUNK
#undef LAYER
#undef ERRORS
#undef OUTER
