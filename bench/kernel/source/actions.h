/* One step of S replicas in their environments for one type of number: the networks' outputs, and the actions chosen of them.
   kernel.c includes this once for each type, after steps.h, whose codes of distributions it shares. */

typedef struct {
  int64_t replicas, samples;                       /* S, B */
  int64_t depth, inputs, outputs;
  const int64_t *widths;
  int64_t distribution, likeliest;                 /* the first columns of a replica that are given the likeliest action */
  int64_t replica, number, sample;                 /* strides of x */
  const REAL *packed, *std;                        /* what `pack` made of the parameters; (S, outputs) of a Gaussian */
  const REAL *x, *noise;                           /* (S, inputs, B); (S, 1 or outputs, B) */
  REAL *hidden, *out;                              /* out (S, outputs, B) */
  int64_t *choices; REAL *actions;                 /* (S, 1, B) of a Categorical; (S, outputs, B) of a Gaussian */
  REAL *work;
} NAMED(Actions);

/* Numbers of working memory of `choose_actions`. */
int64_t NAMED(choose_actions_work)(const NAMED(Actions) *a) {
  return NAMED(padded)(NAMED(workspace)(a->depth, a->inputs, a->widths, a->outputs)) + a->outputs * a->samples;
}

/* The action with the largest logit, the first of several; the first that is not a number, where there is one. */
static int64_t NAMED(likeliest)(int64_t A, int64_t B, const REAL *logits) {
  int64_t best = 0;
  for (int64_t a = 1; a < A; a++) {
    REAL known = logits[best * B], other = logits[a * B];
    if (known == known && !(other <= known)) best = a;
  }
  return best;
}

/* The distribution is a Categorical or a Gaussian. */
void NAMED(choose_actions)(const NAMED(Actions) *a) {
  NAMED(Shape) s = NAMED(shape_of)(a->depth, a->inputs, a->widths, a->outputs);
  int64_t B = a->samples, A = a->outputs, per_sample = NAMED(per_sample)(&s), size = NAMED(packed_size_of)(&s);
  REAL *work = a->work + NAMED(padded)(NAMED(workspace)(a->depth, a->inputs, a->widths, a->outputs));
  for (int64_t r = 0; r < a->replicas; r++) {
    REAL *out = a->out + r * A * B;
    NAMED(pass_one)(&s, B, a->packed + r * size, a->x + r * a->replica, a->number, a->sample, a->hidden + r * B * per_sample, out, B,
                    1, a->work);
    if (a->distribution == CATEGORICAL) {
      NAMED(choose)(1, A, B, out, a->noise + r * B, a->choices + r * B, work);
      for (int64_t t = 0; t < a->likeliest; t++) a->choices[r * B + t] = NAMED(likeliest)(A, B, out + t);
    } else {
      for (int64_t k = 0; k < A; k++) {
        const REAL *mean = out + k * B, *noise = a->noise + (r * A + k) * B;
        REAL std = a->std[r * A + k], *action = a->actions + (r * A + k) * B;
        for (int64_t t = 0; t < B; t++) action[t] = t < a->likeliest ? mean[t] : mean[t] + std * noise[t];
      }
    }
  }
}
