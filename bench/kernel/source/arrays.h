/* Sums of arrays, and the steps of Adam, for one type of number; kernel.c includes this once for each, after networks.h.

   REAL, VEC, LANES and NAMED are those of networks.h. */

/* y (outer, inner) = the sum of x (outer, n, inner) over its middle axis.

   Where inner is one, LANES partial sums run in parallel and are folded in halves; elsewhere one number after the other is
   added. Both begin at zero, and zeros at the end change nothing. */
void NAMED(sum)(int64_t outer, int64_t n, int64_t inner, const REAL *x, REAL *y) {
  for (int64_t o = 0; o < outer; o++, x += n * inner, y += inner) {
    if (inner == 1) {
      VEC total = NAMED(splat)(0), last = NAMED(splat)(0);
      int64_t whole = n / LANES * LANES;
      for (int64_t i = 0; i < whole; i += LANES) total += NAMED(load)(x + i);
      for (int64_t i = whole; i < n; i++) last[i - whole] = x[i];
      *y = NAMED(fold)(total + last);
      continue;
    }
    memset(y, 0, sizeof(REAL) * inner);
    for (int64_t i = 0; i < n; i++)
      for (int64_t j = 0; j < inner; j++) y[j] += x[i * inner + j];
  }
}

/* z (n, m) = the inner products of the rows of x (n, k) and y (m, k): LANES partial sums, folded in halves. */
void NAMED(inner)(int64_t n, int64_t m, int64_t k, const REAL *x, const REAL *y, REAL *z) {
  int64_t whole = k / LANES * LANES, rest = k - whole;
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = 0; j < m; j += 4) {
      int rows = m - j < 4 ? (int)(m - j) : 4;
      VEC sum[4] = {NAMED(splat)(0), NAMED(splat)(0), NAMED(splat)(0), NAMED(splat)(0)}, a = sum[0];
      const REAL *row[4];
      for (int r = 0; r < 4; r++) row[r] = y + (j + (r < rows ? r : 0)) * k;
      for (int64_t c = 0; c < whole; c += LANES) {
        VEC left = NAMED(load)(x + i * k + c);
        for (int r = 0; r < 4; r++) sum[r] = NAMED(fma)(left, NAMED(load)(row[r] + c), sum[r]);
      }
      memcpy(&a, x + i * k + whole, sizeof(REAL) * rest);
      for (int r = 0; r < rows; r++) {
        VEC b = NAMED(splat)(0);
        memcpy(&b, row[r] + whole, sizeof(REAL) * rest);
        z[i * m + j + r] = NAMED(fold)(NAMED(fma)(a, b, sum[r]));
      }
    }
}

void NAMED(traced)(int64_t rows, int64_t n, const REAL *factor, const uint8_t *ended, REAL *y) {
  for (int64_t t = rows - 2; t >= 0; t--)
    for (int64_t i = 0; i < n; i++)
      if (!ended[t * n + i]) y[t * n + i] += factor[i] * y[(t + 1) * n + i];
}

/* choices (S, N) by inverting the distribution of softmax(logits), (S, A, N), at uniform numbers (S, N). */
void NAMED(choose)(int64_t S, int64_t A, int64_t N, const REAL *logits, const REAL *uniform, int64_t *choices, REAL *work) {
  for (int64_t s = 0; s < S; s++, logits += A * N, uniform += N, choices += N) {
    NAMED(log_softmax)(1, A, N, logits, work);
    NAMED(exp)((A - 1) * N, work, work);
    for (int64_t t = 0; t < N; t++) choices[t] = 0;
    for (int64_t a = 0; a + 1 < A; a++)
      for (int64_t t = 0; t < N; t++) {
        if (a > 0) work[a * N + t] += work[(a - 1) * N + t];
        choices[t] += uniform[t] > work[a * N + t];
      }
  }
}

static double NAMED(power)(double base, int64_t exponent) {
  double result = 1;
  for (; exponent > 0; exponent /= 2, base *= base)
    if (exponent % 2) result *= base;
  return result;
}

void NAMED(adam)(int64_t S, int64_t P, REAL *parameters, const REAL *gradient, REAL *first, REAL *second, const double *rate,
                 const int64_t *count, double beta1, double beta2, double eps) {
  for (int64_t s = 0; s < S; s++, parameters += P, gradient += P, first += P, second += P) {
    if (count[s] <= 0) continue;
    REAL keep1 = (REAL)beta1, take1 = (REAL)(1 - beta1), keep2 = (REAL)beta2, take2 = (REAL)(1 - beta2);
    REAL step = (REAL)(rate[s] / (1 - NAMED(power)(beta1, count[s])));
    REAL scale = (REAL)__builtin_sqrt(1 - NAMED(power)(beta2, count[s])), least = (REAL)eps;
    for (int64_t i = 0; i < P; i += LANES) {
      int64_t rest = P - i < LANES ? P - i : LANES;
      VEC p = NAMED(splat)(0), g = p, m = p, v = p;
      memcpy(&p, parameters + i, sizeof(REAL) * rest);
      memcpy(&g, gradient + i, sizeof(REAL) * rest);
      memcpy(&m, first + i, sizeof(REAL) * rest);
      memcpy(&v, second + i, sizeof(REAL) * rest);
      m = NAMED(fma)(NAMED(splat)(keep1), m, NAMED(splat)(take1) * g);
      v = NAMED(fma)(NAMED(splat)(keep2), v, NAMED(splat)(take2) * g * g);
      VEC size = __builtin_elementwise_sqrt(v) / NAMED(splat)(scale) + NAMED(splat)(least);
      p = NAMED(fma)(NAMED(splat)(-step), m / size, p);
      memcpy(parameters + i, &p, sizeof(REAL) * rest);
      memcpy(first + i, &m, sizeof(REAL) * rest);
      memcpy(second + i, &v, sizeof(REAL) * rest);
    }
  }
}

