/* Prints a hash of what every function of the kernel makes of the same numbers, for test_processors.py. */

#include <stdio.h>
#include <stdlib.h>

#include "kernel.h"

static uint64_t state;
static double uniform(void) { /* in [-1, 1): a linear congruential generator */
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (double)(state >> 11) / (double)(1ull << 52) - 1;
}

static uint64_t hash;
static void feed(const void *memory, size_t size) { /* FNV-1a */
  for (size_t i = 0; i < size; i++) hash = (hash ^ ((const unsigned char *)memory)[i]) * 1099511628211u;
}

#define NETWORK(R, T)                                                                                                  \
  static void network_##T(int64_t S, int64_t B, int64_t depth, int64_t inputs, const int64_t *widths, int64_t outputs) { \
    int64_t P = 3, in = inputs;                                                                                        \
    for (int64_t l = 0; l < depth; l++) P += widths[l] * (in + 1), in = widths[l];                                     \
    P += outputs * (in + 1);                                                                                           \
    int64_t xs[] = {inputs * B, B, 1}, os[] = {outputs * B, B, 1};                                                     \
    R *flat = malloc(sizeof(R) * S * P), *grad = calloc(S * P, sizeof(R)), *x = malloc(sizeof(R) * S * inputs * B);    \
    R *out = malloc(sizeof(R) * S * outputs * B), *hidden = malloc(sizeof(R) * (S * hidden_size_##T(B, depth, widths) + 1)); \
    R *work = malloc(sizeof(R) * workspace_##T(depth, inputs, widths, outputs));                                       \
    for (int64_t i = 0; i < S * P; i++) flat[i] = (R)uniform();                                                        \
    for (int64_t i = 0; i < S * inputs * B; i++) x[i] = (R)(3 * uniform());                                            \
    forward_##T(S, B, P, depth, inputs, widths, outputs, flat, x, xs, hidden, out, os, work);                          \
    backward_##T(S, B, P, depth, inputs, widths, outputs, flat, x, xs, hidden, out, os, grad, work);                   \
    feed(out, sizeof(R) * S * outputs * B), feed(grad, sizeof(R) * S * P);                                             \
    double rate[8] = {.1, .2, .3, .4, .5, .6, .7, .8};                                                                 \
    int64_t count[8] = {1, 0, 7, 1000, 2, 3, 4, 5};                                                                    \
    adam_##T(S, P, flat, grad, calloc(S * P, sizeof(R)), calloc(S * P, sizeof(R)), rate, count, .9, .999, 1e-5);       \
    feed(flat, sizeof(R) * S * P);                                                                                     \
  }                                                                                                                    \
  static void functions_##T(void) {                                                                                    \
    enum { N = 10007 };                                                                                                \
    static R x[N], y[N];                                                                                               \
    void (*all[])(int64_t, const R *, R *) = {exp_##T, log_##T, expm1_##T, tanh_##T, sqrt_##T, sin_##T, cos_##T};      \
    for (int f = 0; f < 7; f++) {                                                                                      \
      for (int i = 0; i < N; i++) x[i] = (R)(uniform() * (i % 4 == 0 ? 80 : i % 4 == 1 ? 1 : i % 4 == 2 ? 1e-3 : 1e5)); \
      for (int i = 0; i < N; i++) x[i] = f == 1 || f == 4 ? (x[i] < 0 ? -x[i] : x[i]) : x[i];                          \
      all[f](N, x, y);                                                                                                 \
      feed(y, sizeof y);                                                                                               \
    }                                                                                                                  \
    for (int64_t n = 1; n < 70; n++) sum_##T(3, n, 1, x, y), feed(y, 3 * sizeof(R)), sum_##T(3, n, 5, x, y), feed(y, 15 * sizeof(R)); \
    for (int64_t n = 1; n < 40; n++) inner_##T(3, 9, n, x, x + 500, y), feed(y, 27 * sizeof(R));                       \
    log_softmax_##T(7, 5, 11, x, y);                                                                                   \
    feed(y, 7 * 5 * 11 * sizeof(R));                                                                                   \
  }
NETWORK(float, f32)
NETWORK(double, f64)

static void print(const char *name) {
  printf("%s %016llx\n", name, (unsigned long long)hash);
  hash = 14695981039346656037u, state = 1;
}

int main(void) {
  int64_t square[] = {64, 64}, odd[] = {7, 33, 5};
  print("begin");
  functions_f32(), print("functions f32");
  functions_f64(), print("functions f64");
  for (int64_t B = 1; B <= 70; B++) network_f32(2, B, 2, 4, square, 2);
  print("64 64 f32");
  for (int64_t B = 1; B <= 70; B++) network_f32(3, B, 3, 5, odd, 3);
  print("odd f32");
  for (int64_t B = 1; B <= 70; B++) network_f32(2, B, 0, 9, odd, 1);
  print("linear f32");
  for (int64_t B = 1; B <= 70; B += 3) network_f64(2, B, 3, 5, odd, 3);
  print("odd f64");
  return 0;
}
