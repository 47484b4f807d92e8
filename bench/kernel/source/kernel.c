/* See kernel.h. One source for every processor; the compiler makes a library of it for each. */

#include "kernel.h"

#include <string.h>

#include "elementary.h"

#ifndef SOURCES
#define SOURCES "unknown"
#endif
const char *kernel_sources(void) { return SOURCES; }

/* tanh of sixteen numbers of single precision, in the hidden layers: an odd rational function, fitted to |x| <= 9 with a
   relative error of 2.1e-8; beyond, it is one. The error is below 3 units in the last place. */
typedef float F16 __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t I16 __attribute__((vector_size(64)));

static inline F16 f16(float x) { return (F16){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }
static inline F16 fma16(F16 a, F16 b, F16 c) { return __builtin_elementwise_fma(a, b, c); }

static inline F16 tanh_of_vector_f32(F16 x) {
  F16 u = x * x;
  F16 p = fma16(f16(1.3354751e-08f), u, f16(2.0609152e-05f));
  p = fma16(p, u, f16(3.4955926e-03f));
  p = fma16(p, u, f16(1.3381030e-01f));
  p = fma16(p, u, f16(1)) * x;
  F16 q = fma16(f16(7.7765964e-07f), u, f16(3.2856420e-04f));
  q = fma16(q, u, f16(2.5876999e-02f));
  q = fma16(q, u, f16(4.6714345e-01f));
  q = fma16(q, u, f16(1));
  F16 y = p / q;
  F16 one = (F16)(((I16)x & (I16)f16(-0.0f)) | (I16)f16(1)); /* with the sign of x */
  I16 beyond = (x > f16(9)) | (x < f16(-9)) | (y > f16(1)) | (y < f16(-1));
  return (F16)((beyond & (I16)one) | (~beyond & (I16)y));
}

static inline D8 tanh_of_vector_f64(D8 x) { return tanhv(x); }

#define REAL double
#define VEC D8
#define NAMED(name) name##_f64
#include "networks.h"
#include "arrays.h"
#include "steps.h"
#include "actions.h"
#undef LANES
#undef REAL
#undef VEC
#undef NAMED

#define REAL float
#define VEC F16
#define NAMED(name) name##_f32
#include "networks.h"
#include "arrays.h"
#include "steps.h"
#include "actions.h"
#undef LANES
#undef REAL
#undef VEC
#undef NAMED
