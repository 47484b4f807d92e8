/* The arithmetic of stacked networks, with the same bits on every machine.

   Two things are promised. Every sum has one order, which stands in the source: it depends on the shape of a network and on
   the order of its samples, and on nothing else; not on the processor, the number of replicas, their order, or the number of
   other samples in a batch. And every function is computed here, from additions, multiplications, divisions, square roots and
   fused multiply-adds, which IEEE 754 defines to the last bit. So compile without -ffast-math and with -ffp-contract=off.

   Names end in _f32 (float) or _f64 (double). All numbers of a shape are int64_t. Memory may be aligned in any way that
   suits its type.

   A stack is S networks of one shape: `depth` hidden tanh layers (none is allowed) of `widths` units on `inputs` numbers, and
   `outputs` linear outputs, which several heads may share. `flat` (S, P) holds their parameters, replica after replica:
   W1 (widths[0], inputs), b1, W2 (widths[1], widths[0]), b2, ..., and at last the head's W (outputs, features) and b; what lies
   behind them up to P is left alone.

   x (S, B, inputs), out and d_out (S, B, outputs) may lie in any order: their strides of replica, number and sample, in numbers,
   are given as xs, os and ds. `hidden` takes, replica after replica and layer after layer, the activations (B, width) of every
   hidden layer, each row padded with zeros to a multiple of 64 bytes: `hidden_size` numbers for a replica. `backward` reads
   them. `work` is memory for `workspace` numbers.

   A gradient step as a whole, from gathering the minibatch to Adam, is `step_f32` and `step_f64`; its structure and its formulas
   stand in steps.h. Every number of a step is an array over replicas, and replicas are worked on one after the other. A step
   in the environments, the networks' outputs and the actions chosen of them, is `choose_actions_f32` and `choose_actions_f64` of
   actions.h.

   Bounds: S, B >= 0; 0 <= depth <= 16; widths, inputs, outputs >= 1; all sizes in numbers below 2^40. Nothing is checked here: the
   caller does. No memory is allocated, nothing is kept between calls, so calls from several threads may run at once. */

#include <stdint.h>

#define MAX_DEPTH 16

/* SHA-256 of the sources, as the build gave it: a library of other sources is refused. */
const char *kernel_sources(void);

#define DECLARE(R, T)                                                                                                         \
  int64_t workspace_##T(int64_t depth, int64_t inputs, const int64_t *widths, int64_t outputs);                               \
  int64_t hidden_size_##T(int64_t B, int64_t depth, const int64_t *widths);                                                   \
  void forward_##T(int64_t S, int64_t B, int64_t P, int64_t depth, int64_t inputs, const int64_t *widths, int64_t outputs,    \
                   const R *flat, const R *x, const int64_t *xs, R *hidden, R *out, const int64_t *os, R *work);              \
  /* The parameters as `choose_actions` reads them, `packed_size` numbers for a replica. */                           \
  int64_t packed_size_##T(int64_t depth, int64_t inputs, const int64_t *widths, int64_t outputs);                             \
  void pack_##T(int64_t S, int64_t P, int64_t depth, int64_t inputs, const int64_t *widths, int64_t outputs, const R *flat,   \
                R *packed);                                                                                                   \
  /* Writes the gradient of the network's parameters into grad (S, P), given d_out, the gradient by the outputs. */           \
  void backward_##T(int64_t S, int64_t B, int64_t P, int64_t depth, int64_t inputs, const int64_t *widths, int64_t outputs,   \
                    const R *flat, const R *x, const int64_t *xs, const R *hidden, const R *d_out, const int64_t *ds,         \
                    R *grad, R *work);                                                                                        \
  /* y[i] = f(x[i]) for n numbers; y may be x. Errors: see elementary.h. */                                                   \
  void exp_##T(int64_t n, const R *x, R *y);                                                                                  \
  void log_##T(int64_t n, const R *x, R *y);                                                                                  \
  void expm1_##T(int64_t n, const R *x, R *y);                                                                                \
  void tanh_##T(int64_t n, const R *x, R *y);                                                                                 \
  void sqrt_##T(int64_t n, const R *x, R *y);                                                                                 \
  void sin_##T(int64_t n, const R *x, R *y);                                                                                  \
  void cos_##T(int64_t n, const R *x, R *y);                                                                                  \
  /* The logarithm of the softmax over the middle axis of x (S, A, B), A >= 1; y may be x. */                                 \
  void log_softmax_##T(int64_t S, int64_t A, int64_t B, const R *x, R *y);                                                    \
  /* y (outer, inner) = the sum of x (outer, n, inner) over its middle axis; zeros at its end change no bit. */               \
  void sum_##T(int64_t outer, int64_t n, int64_t inner, const R *x, R *y);                                                    \
  /* z (n, m) = the inner products of the rows of x (n, k) and y (m, k). */                                                    \
  void inner_##T(int64_t n, int64_t m, int64_t k, const R *x, const R *y, R *z);                                              \
  /* y_t (n) += factor (n) y_{t+1} where not ended_t (n), from the last row but one of y (T, n) to the first. */                \
  void traced_##T(int64_t rows, int64_t n, const R *factor, const uint8_t *ended, R *y);                                      \
  /* choices (S, N) by inverting the distribution of softmax(logits), (S, A, N), at uniform numbers; work: A N numbers. */    \
  void choose_##T(int64_t S, int64_t A, int64_t N, const R *logits, const R *uniform, int64_t *choices, R *work);             \
  /* Adam's step number count[s] (arXiv 1412.6980, algorithm 1) of each replica's P parameters; none where it is zero. */     \
  void adam_##T(int64_t S, int64_t P, R *parameters, const R *gradient, R *first, R *second, const double *rate,              \
                const int64_t *count, double beta1, double beta2, double eps);

DECLARE(float, f32)
DECLARE(double, f64)
