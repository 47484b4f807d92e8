/* One step of S replicas in their environments for one type of number: the networks' outputs, and the actions chosen of them.
   kernel.c includes this once for each type, after steps.h, whose codes of distributions it shares. */

#define LOOKED_AT 48 /* samples whose hidden layers are kept at once */

typedef struct {
  int64_t replicas, samples;                       /* S, B */
  int64_t depth, inputs, outputs;
  const int64_t *widths;
  int64_t distribution, likeliest;                 /* the first columns of a replica that are given the likeliest action */
  int64_t replica, number, sample;                 /* strides of x */
  const REAL *packed, *std;                        /* what `pack` made of the parameters; (S, outputs) of a Gaussian */
  const REAL *x, *noise;                           /* (S, inputs, B); (S, 1 or outputs, B) */
  REAL *out;                                       /* (S, outputs, B) */
  int64_t *choices; REAL *actions;                 /* (S, 1, B) of a Categorical; (S, outputs, B) of a Gaussian */
  const int64_t *columns, *counts;                 /* the samples of each replica that are worked on, replica after replica, and
                                                      their numbers (S); or null: all */
  REAL *work;
} NAMED(Actions);

/* Numbers of working memory of `choose_actions`. */
int64_t NAMED(choose_actions_work)(const NAMED(Actions) *a) {
  NAMED(Shape) s = NAMED(shape_of)(a->depth, a->inputs, a->widths, a->outputs);
  int64_t numbers = a->inputs + 4 * a->outputs + (int64_t)(sizeof(int64_t) / sizeof(REAL)) + 1;
  return NAMED(padded)(NAMED(workspace)(a->depth, a->inputs, a->widths, a->outputs)) + LOOKED_AT * NAMED(per_sample)(&s) +
         numbers * NAMED(padded)(a->samples);
}

/* The outputs (outputs, B) of one replica; what its hidden layers say of a chunk stays in the first cache. */
static void NAMED(look)(const NAMED(Shape) *s, int64_t B, const REAL *packed, const REAL *x, int64_t number, int64_t sample,
                        REAL *hidden, REAL *out, REAL *row) {
  for (int64_t t = 0; t < B; t += LOOKED_AT)
    NAMED(pass_one)(s, B - t < LOOKED_AT ? B - t : LOOKED_AT, packed, x + t * sample, number, sample, hidden, out + t, B, 1, row);
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

/* Give each of B samples of a replica its action; the first `likeliest` are given the likeliest. */
static void NAMED(choose_of)(const NAMED(Actions) *a, int64_t r, int64_t B, int64_t likeliest, const REAL *out, const REAL *noise,
                             int64_t *choices, REAL *actions, REAL *work) {
  int64_t A = a->outputs;
  if (a->distribution == CATEGORICAL) {
    NAMED(choose)(1, A, B, out, noise, choices, work);
    for (int64_t t = 0; t < likeliest; t++) choices[t] = NAMED(likeliest)(A, B, out + t);
    return;
  }
  for (int64_t k = 0; k < A; k++) {
    REAL std = a->std[r * A + k];
    for (int64_t t = 0; t < B; t++)
      actions[k * B + t] = t < likeliest ? out[k * B + t] : out[k * B + t] + std * noise[k * B + t];
  }
}

/* The distribution is a Categorical or a Gaussian. */
void NAMED(choose_actions)(const NAMED(Actions) *a) {
  NAMED(Shape) s = NAMED(shape_of)(a->depth, a->inputs, a->widths, a->outputs);
  int64_t B = a->samples, A = a->outputs, size = NAMED(packed_size_of)(&s);
  int64_t components = a->distribution == CATEGORICAL ? 1 : A;
  REAL *free = a->work + NAMED(padded)(NAMED(workspace)(a->depth, a->inputs, a->widths, a->outputs));
  int64_t *chosen_choices = (int64_t *)NAMED(take)(&free, B * (int64_t)(sizeof(int64_t) / sizeof(REAL)));
  REAL *hidden = NAMED(take)(&free, LOOKED_AT * NAMED(per_sample)(&s)), *work = NAMED(take)(&free, A * B);
  REAL *chosen_x = NAMED(take)(&free, a->inputs * B), *chosen_noise = NAMED(take)(&free, A * B),
       *chosen_out = NAMED(take)(&free, A * B), *chosen_actions = NAMED(take)(&free, A * B);
  const int64_t *columns = a->columns;
  for (int64_t r = 0; r < a->replicas; r++, columns += a->counts ? a->counts[r - 1] : 0) {
    int64_t n = a->counts ? a->counts[r] : B, likeliest = a->likeliest;
    const REAL *packed = a->packed + r * size, *x = a->x + r * a->replica, *noise = a->noise + r * components * B;
    REAL *out = a->out + r * A * B, *actions = a->actions + r * A * B;
    int64_t *choices = a->choices + r * B;
    if (n == B) {
      NAMED(look)(&s, B, packed, x, a->number, a->sample, hidden, out, a->work);
      NAMED(choose_of)(a, r, B, likeliest, out, noise, choices, actions, work);
      continue;
    }
    while (likeliest > 0 && (likeliest > n || columns[likeliest - 1] >= a->likeliest)) likeliest--;
    for (int64_t k = 0; k < a->inputs; k++)
      for (int64_t t = 0; t < n; t++) chosen_x[k * n + t] = x[k * a->number + columns[t] * a->sample];
    for (int64_t k = 0; k < components; k++)
      for (int64_t t = 0; t < n; t++) chosen_noise[k * n + t] = noise[k * B + columns[t]];
    NAMED(look)(&s, n, packed, chosen_x, n, 1, hidden, chosen_out, a->work);
    NAMED(choose_of)(a, r, n, likeliest, chosen_out, chosen_noise, chosen_choices, chosen_actions, work);
    for (int64_t k = 0; k < A; k++)
      for (int64_t t = 0; t < n; t++) out[k * B + columns[t]] = chosen_out[k * n + t];
    if (a->distribution == CATEGORICAL)
      for (int64_t t = 0; t < n; t++) choices[columns[t]] = chosen_choices[t];
    else
      for (int64_t k = 0; k < A; k++)
        for (int64_t t = 0; t < n; t++) actions[k * B + columns[t]] = chosen_actions[k * n + t];
  }
}

#undef LOOKED_AT
