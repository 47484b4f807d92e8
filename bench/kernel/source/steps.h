/* One gradient step of S replicas for one type of number: a minibatch of each, gathered, passed forward, judged, passed
   backward, clipped and taken, replica after replica, so that each is in the processor's cache while it is worked on.
   kernel.c includes this once for each type, after networks.h and arrays.h.

   Where the critic is a head on the actor's last hidden layer (`shared`), its parameters are that head's alone, W (1, features)
   and b, and both heads are passed as one network of outputs + 1 outputs: the loss is the sum of both losses.

   The formulas are those of bench/arms/objectives.py and reference.py, bench/learner/distributions.py, minibatches.py and
   update.py, which tests hold them against. In names: old is the policy that acted. */

#ifndef STEP_CODES
#define STEP_CODES
enum { ACT = 1, JUDGE = 2, LEARN = 4 };                 /* phases; a plug-in's objective comes between ACT and LEARN */
enum { CATEGORICAL, GAUSSIAN, STATE_DEPENDENT };        /* distributions */
enum { VANILLA, UNCLIPPED, CLIP, CLIP_WITHOUT_MIN, KL_PENALTY }; /* objectives */
enum { NO_REFERENCE, K1, K2, K3 };                      /* estimates of the divergence from a reference in the loss */
enum { AS_IT_IS, RMS, MEAN_STD };                       /* normalisations of advantages */
enum { SEEN_OBJECTIVE, SEEN_ENTROPY, SEEN_KL, SEEN_CLIPPED, SEEN_ERROR, SEEN_ACTOR_NORM, SEEN_ACTOR_CLIPPED,
       SEEN_CRITIC_NORM, SEEN_CRITIC_CLIPPED, SEEN };   /* what a step began with, sums over minibatches */
static const double EQUAL = 1e-10, REFERENCE_CLIP_RANGE = 0.2, VARIANCE_EPSILON = 1e-6;
#endif

typedef struct {
  int64_t replicas, samples, width;                     /* S, M columns of the batch, B of the index */
  int64_t phases, distribution, objective, reference, importance, normalisation, joint, shared, with_kl;
  int64_t inputs, actor_depth, critic_depth, outputs, components, extra, actor_size, critic_size; /* sizes 0: no such network */
  const int64_t *actor_widths, *critic_widths;
  const REAL *observations, *old_outputs, *old_extras;  /* (S, inputs, M), (S, outputs [+ features], M), (S, extra) */
  const REAL *actions; const int64_t *choices;          /* (S, components, M): the latter of a Categorical */
  const REAL *log_prob_old, *advantage, *target, *weight, *log_prob_reference; /* (S, M) */
  const int64_t *index, *index_stride, *sizes, *counts; /* (S, B) or null; samples of each minibatch (S); of the batch (S) */
  const double *actor_rate, *critic_rate, *clip_range, *kl_coef, *reference_coef, *ent_coef, *vf_coef, *actor_limit,
      *critic_limit;                                    /* (S) */
  REAL *actor, *actor_grad, *actor_first, *actor_second, *critic, *critic_grad, *critic_first, *critic_second; /* (S, P) */
  double *actor_steps, *critic_steps;                   /* (S) */
  REAL *log_prob, *acted, *judged_by, *value_of, *slope; /* (S, B), between two halves: log pi of both policies and the advantages,
                                                            and the objective and its slope */
  double beta1, beta2, eps;                             /* of Adam */
  double *seen, *taken;                                 /* (S, SEEN), (S) */
  REAL *work; const int64_t *work_stride;
} NAMED(Step);

typedef struct { /* of one replica in one minibatch */
  int64_t n, index_offset;
  NAMED(Shape) actor, critic;
  REAL *both, *both_grad, *rows, *actor_hidden, *critic_hidden, *out, *d_out, *value, *advantage, *weight, *log_prob_old, *target, *reference,
      *log_prob, *entropy, *kl, *objective, *slope, *log_ratio, *ratio, *a, *b, *c, *d_extras, *logp, *p, *old, *old_p, *action,
      *features, *old_features, *squares, *old_squares, *free;
  int64_t *choice;
} NAMED(Local);

static REAL *NAMED(take)(REAL **free, int64_t numbers) {
  REAL *here = *free;
  *free += NAMED(padded)(numbers);
  return here;
}

/* Lay out the memory of one replica; the number of numbers. */
static int64_t NAMED(lay_out)(const NAMED(Step) *s, NAMED(Local) *m, REAL *work) {
  REAL *free = work;
  int64_t B = s->width, F, heads = s->outputs + s->shared, together = s->shared ? s->actor_size + s->critic_size : 0;
  m->actor = NAMED(shape_of)(s->actor_depth, s->inputs, s->actor_widths, heads);
  m->critic = NAMED(shape_of)(s->critic_depth, s->inputs, s->critic_widths, 1);
  F = s->distribution == STATE_DEPENDENT ? m->actor.features : 0;
  m->both = NAMED(take)(&free, together);
  m->both_grad = NAMED(take)(&free, together);
  m->rows = NAMED(take)(&free, B * s->inputs);
  m->actor_hidden = NAMED(take)(&free, B * NAMED(per_sample)(&m->actor));
  m->critic_hidden = NAMED(take)(&free, B * NAMED(per_sample)(&m->critic));
  REAL **outputs[] = {&m->out, &m->d_out, &m->logp, &m->p, &m->old, &m->old_p};
  for (int i = 0; i < 6; i++) *outputs[i] = NAMED(take)(&free, B * heads);
  m->action = NAMED(take)(&free, B * s->components);
  m->choice = (int64_t *)NAMED(take)(&free, B * (int64_t)(sizeof(int64_t) / sizeof(REAL)));
  REAL **columns[] = {&m->value, &m->advantage, &m->weight, &m->log_prob_old, &m->target, &m->reference, &m->log_prob,
                      &m->entropy, &m->kl, &m->objective, &m->slope, &m->log_ratio, &m->ratio, &m->a, &m->b, &m->c};
  for (int i = 0; i < 16; i++) *columns[i] = NAMED(take)(&free, B);
  m->d_extras = NAMED(take)(&free, 4 * (s->extra + 1));
  m->features = NAMED(take)(&free, B * F);
  m->old_features = NAMED(take)(&free, B * F);
  m->squares = NAMED(take)(&free, s->components * F);
  m->old_squares = NAMED(take)(&free, s->components * F);
  m->free = free;
  int64_t actor = NAMED(workspace)(s->actor_depth, s->inputs, s->actor_widths, heads);
  int64_t critic = NAMED(workspace)(s->critic_depth, s->inputs, s->critic_widths, 1);
  return free - work + NAMED(most)(NAMED(most)(actor, critic), NAMED(padded)(NAMED(most)(s->actor_size, s->critic_size))) + 2 * B * 8;
}

/* Numbers of working memory of a step: for all replicas where the step comes in two halves. */
int64_t NAMED(step_work)(const NAMED(Step) *s) {
  NAMED(Local) m;
  return NAMED(lay_out)(s, &m, s->work);
}

static int64_t NAMED(column)(const NAMED(Step) *s, int64_t r, int64_t t) {
  return s->index ? s->index[r * *s->index_stride + t] : t;
}

/* to (rows, n) = the chosen columns of from (rows, M) */
static void NAMED(gather)(const NAMED(Step) *s, int64_t r, int64_t n, int64_t rows, const REAL *from, REAL *to) {
  from += r * rows * s->samples;
  for (int64_t k = 0; k < rows; k++)
    for (int64_t t = 0; t < n; t++) to[k * n + t] = from[k * s->samples + NAMED(column)(s, r, t)];
}

static REAL NAMED(total)(int64_t n, const REAL *x) {
  REAL y;
  NAMED(sum)(1, n, 1, x, &y);
  return y;
}

static double NAMED(total_of_doubles)(int64_t n, const double *x) {
  double y;
  sum_f64(1, n, 1, x, &y);
  return y;
}

/* The advantages of a minibatch on the scale of 1, in double precision; see `normalised`. */
static void NAMED(normalise)(int64_t n, int64_t kind, REAL *x, double *a, double *b) {
  if (kind == AS_IT_IS) return;
  double mean = 0, divisor;
  for (int64_t t = 0; t < n; t++) a[t] = (double)x[t];
  if (kind == MEAN_STD) {
    if (n < 2) return;
    mean = NAMED(total_of_doubles)(n, a) / (double)n;
    for (int64_t t = 0; t < n; t++) {
      double size = __builtin_fabs(a[t]) > __builtin_fabs(mean) ? __builtin_fabs(a[t]) : __builtin_fabs(mean);
      double difference = a[t] - mean;
      a[t] = __builtin_fabs(difference) < EQUAL * size ? 0 : difference;
    }
  }
  for (int64_t t = 0; t < n; t++) b[t] = a[t] * a[t];
  divisor = __builtin_sqrt(NAMED(total_of_doubles)(n, b) / (double)(kind == MEAN_STD ? n - 1 : n)) + 1e-8;
  for (int64_t t = 0; t < n; t++) x[t] = (REAL)(a[t] == 0 ? 0 : a[t] / divisor);
}

/* ---- distributions: log pi(a|s), the entropy and KL(old, new) of n samples, and then the gradient by the outputs ---- */

static void NAMED(act_categorical)(const NAMED(Step) *s, NAMED(Local) *m, int64_t r) {
  int64_t n = m->n, A = s->outputs;
  for (int64_t t = 0; t < n; t++) m->choice[t] = s->choices[r * s->samples + NAMED(column)(s, r, t)];
  NAMED(log_softmax)(1, A, n, m->out, m->logp);
  NAMED(exp)(A * n, m->logp, m->p);
  for (int64_t t = 0; t < n; t++) m->log_prob[t] = m->logp[m->choice[t] * n + t];
  memset(m->entropy, 0, sizeof(REAL) * n);
  for (int64_t a = 0; a < A; a++)
    for (int64_t t = 0; t < n; t++) m->entropy[t] += m->p[a * n + t] * m->logp[a * n + t];
  for (int64_t t = 0; t < n; t++) m->entropy[t] = -m->entropy[t];
  if (!s->with_kl) return;
  NAMED(gather)(s, r, n, A, s->old_outputs, m->old);
  NAMED(log_softmax)(1, A, n, m->old, m->old);
  NAMED(exp)(A * n, m->old, m->old_p);
  memset(m->kl, 0, sizeof(REAL) * n);
  for (int64_t a = 0; a < A; a++)
    for (int64_t t = 0; t < n; t++) m->kl[t] += m->old_p[a * n + t] * (m->old[a * n + t] - m->logp[a * n + t]);
}

static void NAMED(learn_categorical)(const NAMED(Step) *s, NAMED(Local) *m, const REAL *d_log_prob, REAL d_entropy,
                                     const REAL *d_kl) {
  int64_t n = m->n;
  for (int64_t a = 0; a < s->outputs; a++) {
    const REAL *p = m->p + a * n, *logp = m->logp + a * n, *old_p = m->old_p + a * n;
    REAL *d = m->d_out + a * n;
    for (int64_t t = 0; t < n; t++) d[t] = p[t] * -d_log_prob[t] + (m->choice[t] == a ? d_log_prob[t] : 0);
    if (d_entropy != 0)
      for (int64_t t = 0; t < n; t++) d[t] -= d_entropy * p[t] * (logp[t] + m->entropy[t]);
    if (s->with_kl)
      for (int64_t t = 0; t < n; t++) d[t] += d_kl[t] * (p[t] - old_p[t]);
  }
}

static void NAMED(act_gaussian)(const NAMED(Step) *s, NAMED(Local) *m, int64_t r) {
  int64_t n = m->n, K = s->components;
  const REAL *log_std = s->actor + (r + 1) * s->actor_size - K, half_log = (REAL)(0.5 * 1.8378770664093453);
  const REAL half_log_e = (REAL)(0.5 * 2.8378770664093453);
  REAL *inverse = m->d_extras + K, entropy = 0;
  NAMED(gather)(s, r, n, K, s->actions, m->action);
  for (int64_t k = 0; k < K; k++) inverse[k] = -log_std[k];
  NAMED(exp)(K, inverse, inverse);
  memset(m->log_prob, 0, sizeof(REAL) * n);
  for (int64_t k = 0; k < K; k++) {
    entropy += log_std[k] + half_log_e;
    for (int64_t t = 0; t < n; t++) {
      REAL z = (m->action[k * n + t] - m->out[k * n + t]) * inverse[k];
      m->p[k * n + t] = z;
      m->log_prob[t] += (REAL)-0.5 * (z * z) - log_std[k] - half_log;
    }
  }
  for (int64_t t = 0; t < n; t++) m->entropy[t] = entropy;
  if (!s->with_kl) return;
  NAMED(gather)(s, r, n, K, s->old_outputs, m->old);
  memset(m->kl, 0, sizeof(REAL) * n);
  for (int64_t k = 0; k < K; k++) {
    REAL old_log_std = s->old_extras[r * K + k], variance = 2 * old_log_std, twice = 2 * log_std[k];
    NAMED(exp)(1, &variance, &variance);
    NAMED(exp)(1, &twice, &twice);
    for (int64_t t = 0; t < n; t++) {
      REAL distance = m->old[k * n + t] - m->out[k * n + t];
      m->kl[t] += log_std[k] - old_log_std + (variance + distance * distance) / (2 * twice) - (REAL)0.5;
    }
  }
}

static void NAMED(learn_gaussian)(const NAMED(Step) *s, NAMED(Local) *m, int64_t r, const REAL *d_log_prob, REAL d_entropy,
                                  const REAL *d_kl) {
  int64_t n = m->n, K = s->components;
  const REAL *log_std = s->actor + (r + 1) * s->actor_size - K, *inverse = m->d_extras + K;
  for (int64_t k = 0; k < K; k++) {
    const REAL *z = m->p + k * n;
    REAL *d = m->d_out + k * n;
    for (int64_t t = 0; t < n; t++) {
      d[t] = d_log_prob[t] * z[t] * inverse[k];
      m->a[t] = d_log_prob[t] * (z[t] * z[t] - 1);
    }
    m->d_extras[k] = NAMED(total)(n, m->a) + d_entropy * (REAL)n;
    if (!s->with_kl) continue;
    REAL ratio = s->old_extras[r * K + k] - log_std[k];
    NAMED(exp)(1, &ratio, &ratio);
    for (int64_t t = 0; t < n; t++) {
      REAL distance = (m->out[k * n + t] - m->old[k * n + t]) * inverse[k];
      d[t] += d_kl[t] * distance * inverse[k];
      m->a[t] = d_kl[t] * (1 - ratio * ratio - distance * distance);
    }
    m->d_extras[k] += NAMED(total)(n, m->a);
  }
}

/* Variances (K, n) from sigma^2 (K, F) and features (n, F), the rows of both padded with zeros. */
static void NAMED(variances)(int64_t n, int64_t K, int64_t F, const REAL *squares, const REAL *features, REAL *variance) {
  for (int64_t k = 0; k < K; k++)
    for (int64_t t = 0; t < n; t++) {
      VEC sum = NAMED(splat)(0);
      for (int64_t j = 0; j < F; j += LANES) {
        VEC f = NAMED(load)(features + t * F + j);
        sum = NAMED(fma)(NAMED(load)(squares + k * F + j), f * f, sum);
      }
      variance[k * n + t] = NAMED(fold)(sum) + (REAL)VARIANCE_EPSILON;
    }
}

/* sigma^2 of log sigma (K, width), in rows padded to F. */
static void NAMED(squared_stds)(int64_t K, int64_t width, int64_t F, const REAL *log_std, REAL *squares) {
  memset(squares, 0, sizeof(REAL) * K * F);
  for (int64_t k = 0; k < K; k++) {
    for (int64_t f = 0; f < width; f++) squares[k * F + f] = 2 * log_std[k * width + f];
    NAMED(exp)(width, squares + k * F, squares + k * F);
  }
}

static void NAMED(act_state_dependent)(const NAMED(Step) *s, NAMED(Local) *m, int64_t r) {
  int64_t n = m->n, K = s->components, F = m->actor.features, width = s->extra / K;
  const REAL *log_std = s->actor + (r + 1) * s->actor_size - s->extra, log_tau = (REAL)1.8378770664093453;
  const REAL log_tau_e = (REAL)2.8378770664093453;
  REAL *variance = m->p, *log_variance = m->logp;
  if (s->actor_depth == 0) NAMED(pad_rows)(m->features, F, m->rows, n, s->inputs);
  else memcpy(m->features, m->actor_hidden + (NAMED(per_sample)(&m->actor) - F) * n, sizeof(REAL) * n * F);
  NAMED(squared_stds)(K, width, F, log_std, m->squares);
  NAMED(variances)(n, K, F, m->squares, m->features, variance);
  NAMED(log)(K * n, variance, log_variance);
  NAMED(gather)(s, r, n, K, s->actions, m->action);
  memset(m->log_prob, 0, sizeof(REAL) * n);
  memset(m->entropy, 0, sizeof(REAL) * n);
  for (int64_t k = 0; k < K; k++)
    for (int64_t t = 0; t < n; t++) {
      REAL difference = m->action[k * n + t] - m->out[k * n + t];
      m->log_prob[t] += (REAL)-0.5 * (difference * difference / variance[k * n + t] + log_variance[k * n + t] + log_tau);
      m->entropy[t] += (REAL)0.5 * (log_variance[k * n + t] + log_tau_e);
    }
  if (!s->with_kl) return;
  const REAL *outputs = s->old_outputs + r * (K + width) * s->samples;
  memset(m->old_features, 0, sizeof(REAL) * n * F);
  memset(m->kl, 0, sizeof(REAL) * n);
  for (int64_t t = 0; t < n; t++) {
    int64_t column = NAMED(column)(s, r, t);
    for (int64_t k = 0; k < K; k++) m->old[k * n + t] = outputs[k * s->samples + column];
    for (int64_t f = 0; f < width; f++) m->old_features[t * F + f] = outputs[(K + f) * s->samples + column];
  }
  NAMED(squared_stds)(K, width, F, s->old_extras + r * s->extra, m->old_squares);
  NAMED(variances)(n, K, F, m->old_squares, m->old_features, m->old_p);
  for (int64_t k = 0; k < K; k++) {
    NAMED(log)(n, m->old_p + k * n, m->a);
    for (int64_t t = 0; t < n; t++) {
      REAL distance = m->old[k * n + t] - m->out[k * n + t];
      REAL logs = log_variance[k * n + t] - m->a[t];
      m->kl[t] += (REAL)0.5 * (logs + (m->old_p[k * n + t] + distance * distance) / variance[k * n + t] - 1);
    }
  }
}

static void NAMED(learn_state_dependent)(const NAMED(Step) *s, NAMED(Local) *m, const REAL *d_log_prob, REAL d_entropy,
                                         const REAL *d_kl) {
  int64_t n = m->n, K = s->components, F = m->actor.features, width = s->extra / K;
  for (int64_t k = 0; k < K; k++) {
    const REAL *variance = m->p + k * n, *mean = m->out + k * n;
    REAL *d = m->d_out + k * n, *d_variance = m->a;
    for (int64_t t = 0; t < n; t++) {
      REAL inverse = 1 / variance[t], difference = m->action[k * n + t] - mean[t];
      d[t] = d_log_prob[t] * difference * inverse;
      d_variance[t] = d_log_prob[t] * ((REAL)0.5 * inverse * (difference * difference * inverse - 1));
      if (d_entropy != 0) d_variance[t] += d_entropy * ((REAL)0.5 * inverse);
      if (s->with_kl) {
        REAL distance = mean[t] - m->old[k * n + t];
        d[t] += d_kl[t] * distance * inverse;
        d_variance[t] += d_kl[t] * ((REAL)0.5 * inverse * (1 - (m->old_p[k * n + t] + distance * distance) * inverse));
      }
    }
    for (int64_t j = 0; j < F; j += LANES) { /* the variance's derivative by log sigma is 2 sigma^2 phi^2 */
      VEC sum = NAMED(splat)(0);
      for (int64_t t = 0; t < n; t++) {
        VEC f = NAMED(load)(m->features + t * F + j);
        sum = NAMED(fma)(NAMED(splat)(d_variance[t]), f * f, sum);
      }
      for (int i = 0; i < LANES && j + i < width; i++) m->d_extras[k * width + j + i] = 2 * m->squares[k * F + j + i] * sum[i];
    }
  }
}

/* ---- the step ---- */

/* The parameters of one network with both heads, W of the policy's outputs and of the value, b of both; or, with `apart`, what
   stands there written back to `actor` and `critic`. Behind the actor's head its extras are left alone. */
static void NAMED(both_heads)(const NAMED(Step) *s, REAL *both, REAL *actor, REAL *critic, int apart) {
  int64_t F = s->critic_size - 1, A = s->outputs, hidden = s->actor_size - s->extra - A * (F + 1);
  struct { REAL *own; int64_t numbers; } parts[] = {{actor, hidden + A * F}, {critic, F}, {actor + hidden + A * F, A}, {critic + F, 1}};
  for (int i = 0; i < 4; both += parts[i++].numbers)
    memcpy(apart ? parts[i].own : both, apart ? both : parts[i].own, sizeof(REAL) * parts[i].numbers);
}

static void NAMED(act)(const NAMED(Step) *s, NAMED(Local) *m, int64_t r) {
  int64_t n = m->n;
  const REAL *x = s->observations + r * s->inputs * s->samples;
  for (int64_t t = 0; t < n; t++) {
    int64_t column = NAMED(column)(s, r, t);
    for (int64_t k = 0; k < s->inputs; k++) m->rows[t * s->inputs + k] = x[k * s->samples + column];
  }
  if (s->actor_size) {
    REAL *parameters = s->actor + r * s->actor_size;
    if (s->shared) {
      NAMED(both_heads)(s, m->both, parameters, s->critic + r * s->critic_size, 0);
      parameters = m->both;
    }
    NAMED(forward_one)(&m->actor, n, parameters, m->rows, 1, s->inputs, m->actor_hidden, m->out, n, 1, m->free);
    if (s->distribution == CATEGORICAL) NAMED(act_categorical)(s, m, r);
    else if (s->distribution == GAUSSIAN) NAMED(act_gaussian)(s, m, r);
    else NAMED(act_state_dependent)(s, m, r);
  }
  if (s->critic_size && !s->shared)
    NAMED(forward_one)(&m->critic, n, s->critic + r * s->critic_size, m->rows, 1, s->inputs, m->critic_hidden, m->value, 1, 1, m->free);
}

/* What is maximised of every sample, and its derivative by log_prob. */
static void NAMED(judge)(const NAMED(Step) *s, NAMED(Local) *m, int64_t r) {
  int64_t n = m->n;
  const REAL *advantage = m->advantage, *ratio = m->ratio;
  REAL clip = (REAL)s->clip_range[r], beta = (REAL)s->kl_coef[r], low = 1 - clip, high = 1 + clip;
  for (int64_t t = 0; t < n; t++) {
    REAL u = ratio[t] * advantage[t], within = ratio[t] < low ? low : ratio[t] > high ? high : ratio[t];
    REAL clipped = within * advantage[t];
    switch (s->objective) {
      case VANILLA: m->objective[t] = m->log_prob[t] * advantage[t], m->slope[t] = advantage[t]; break;
      case UNCLIPPED: m->objective[t] = m->slope[t] = u; break;
      case KL_PENALTY: m->objective[t] = u - beta * m->kl[t], m->slope[t] = u; break;
      case CLIP_WITHOUT_MIN: m->objective[t] = clipped, m->slope[t] = ratio[t] == within ? clipped : 0; break;
      default: m->objective[t] = u < clipped || u != u ? u : clipped, m->slope[t] = u <= clipped ? u : 0;
    }
  }
}

/* Take from the objective what going away from the reference costs; importance weights are constants. */
static void NAMED(hold)(const NAMED(Step) *s, NAMED(Local) *m, int64_t r) {
  int64_t n = m->n;
  REAL coef = (REAL)s->reference_coef[r];
  for (int64_t t = 0; t < n; t++) m->a[t] = m->reference[t] - m->log_prob[t];
  if (s->reference == K3) NAMED(exp)(n, m->a, m->b), NAMED(expm1)(n, m->a, m->c);
  for (int64_t t = 0; t < n; t++) {
    REAL beta = s->importance ? coef * m->ratio[t] : coef, x = m->a[t];
    REAL cost = s->reference == K1 ? -x : s->reference == K2 ? (REAL)0.5 * (x * x) : m->b[t] - 1 - x;
    REAL slope = s->reference == K1 ? 1 : s->reference == K2 ? -x : -m->c[t];
    m->objective[t] -= beta * cost;
    m->slope[t] -= beta * slope;
  }
}

static double NAMED(norm)(int64_t P, const REAL *gradient, REAL *squares) {
  for (int64_t i = 0; i < P; i++) squares[i] = gradient[i] * gradient[i];
  return __builtin_sqrt((double)NAMED(total)(P, squares));
}

/* The factor that brings a norm to at most `limit`. */
static REAL NAMED(clipping)(REAL norm, double limit) {
  if (limit == __builtin_inf()) return 1;
  REAL factor = (REAL)limit / (norm + (REAL)1e-6);
  return factor > 1 ? 1 : factor;
}

static void NAMED(move)(const NAMED(Step) *s, int64_t r, int64_t P, REAL factor, const double *rate, double *steps, REAL *parameters, REAL *gradient,
                        REAL *first, REAL *second) {
  REAL *g = gradient + r * P;
  if (factor != 1)
    for (int64_t i = 0; i < P; i++) g[i] *= factor;
  int64_t count = (int64_t)(steps[r] += 1);
  NAMED(adam)(1, P, parameters + r * P, g, first + r * P, second + r * P, rate + r, &count, s->beta1, s->beta2, s->eps);
}

static void NAMED(learn)(const NAMED(Step) *s, NAMED(Local) *m, int64_t r) {
  int64_t n = m->n, P = s->actor_size, Q = s->critic_size;
  double *seen = s->seen + r * SEEN;
  REAL share = 1 / (REAL)n, actor_norm = 0, critic_norm = 0;
  if (P) {
    REAL *d_log_prob = m->log_ratio, *d_kl = m->b, d_entropy = (REAL)-s->ent_coef[r] * share;
    for (int64_t t = 0; t < n; t++) m->a[t] = m->weight[t] * m->objective[t];
    seen[SEEN_OBJECTIVE] += -(double)NAMED(total)(n, m->a);
    for (int64_t t = 0; t < n; t++) m->a[t] = share * m->entropy[t];
    seen[SEEN_ENTROPY] += -(double)NAMED(total)(n, m->a);
    NAMED(expm1)(n, m->log_ratio, m->a);
    for (int64_t t = 0; t < n; t++) m->c[t] = share * (__builtin_fabs((double)m->a[t]) > (REAL)REFERENCE_CLIP_RANGE ? 1 : 0);
    for (int64_t t = 0; t < n; t++) m->a[t] = share * (m->a[t] - m->log_ratio[t]);
    seen[SEEN_KL] += (double)NAMED(total)(n, m->a);
    seen[SEEN_CLIPPED] += (double)NAMED(total)(n, m->c);
    for (int64_t t = 0; t < n; t++) d_log_prob[t] = -m->weight[t] * m->slope[t];
    for (int64_t t = 0; t < n; t++) d_kl[t] = m->weight[t] * (REAL)s->kl_coef[r];
    if (s->distribution == CATEGORICAL) NAMED(learn_categorical)(s, m, d_log_prob, d_entropy, d_kl);
    else if (s->distribution == GAUSSIAN) NAMED(learn_gaussian)(s, m, r, d_log_prob, d_entropy, d_kl);
    else NAMED(learn_state_dependent)(s, m, d_log_prob, d_entropy, d_kl);
    REAL *gradient = s->actor_grad + r * P;
    memcpy(gradient + P - s->extra, m->d_extras, sizeof(REAL) * s->extra);
    if (!s->shared)
      NAMED(backward_one)(&m->actor, n, s->actor + r * P, m->rows, 1, s->inputs, m->actor_hidden, m->d_out, n, 1, gradient, m->free);
  }
  if (Q) {
    for (int64_t t = 0; t < n; t++) m->value[t] -= m->target[t]; /* from here on the error */
    for (int64_t t = 0; t < n; t++) m->a[t] = share * (m->value[t] * m->value[t]);
    seen[SEEN_ERROR] += (double)NAMED(total)(n, m->a);
    REAL scale = (REAL)(2 * s->vf_coef[r]), *d_value = s->shared ? m->d_out + s->outputs * n : m->a;
    for (int64_t t = 0; t < n; t++) d_value[t] = scale * share * m->value[t];
    if (s->shared) {
      NAMED(backward_one)(&m->actor, n, m->both, m->rows, 1, s->inputs, m->actor_hidden, m->d_out, n, 1, m->both_grad, m->free);
      NAMED(both_heads)(s, m->both_grad, s->actor_grad + r * P, s->critic_grad + r * Q, 1);
    } else
      NAMED(backward_one)(&m->critic, n, s->critic + r * Q, m->rows, 1, s->inputs, m->critic_hidden, d_value, 1, 1, s->critic_grad + r * Q, m->free);
    critic_norm = (REAL)NAMED(norm)(Q, s->critic_grad + r * Q, m->free);
  }
  if (P) actor_norm = (REAL)NAMED(norm)(P, s->actor_grad + r * P, m->free);
  REAL actor_factor, critic_factor;
  if (s->joint) {
    REAL whole = (REAL)__builtin_sqrt((double)(actor_norm * actor_norm + critic_norm * critic_norm));
    actor_factor = critic_factor = NAMED(clipping)(whole, s->actor_limit[r]);
  } else {
    actor_factor = NAMED(clipping)(actor_norm, s->actor_limit[r]);
    critic_factor = NAMED(clipping)(critic_norm, s->critic_limit[r]);
  }
  if (P) {
    seen[SEEN_ACTOR_NORM] += (double)actor_norm;
    seen[SEEN_ACTOR_CLIPPED] += actor_factor < 1;
    NAMED(move)(s, r, P, actor_factor, s->actor_rate, s->actor_steps, s->actor, s->actor_grad, s->actor_first, s->actor_second);
  }
  if (Q) {
    seen[SEEN_CRITIC_NORM] += (double)critic_norm;
    seen[SEEN_CRITIC_CLIPPED] += critic_factor < 1;
    NAMED(move)(s, r, Q, critic_factor, s->critic_rate, s->critic_steps, s->critic, s->critic_grad, s->critic_first, s->critic_second);
  }
  s->taken[r] += 1;
}

/* What a replica's minibatch holds beside observations and actions. */
static void NAMED(collect)(const NAMED(Step) *s, NAMED(Local) *m, int64_t r) {
  int64_t n = m->n;
  REAL share = 1 / (REAL)n;
  NAMED(gather)(s, r, n, 1, s->log_prob_old, m->log_prob_old);
  NAMED(gather)(s, r, n, 1, s->advantage, m->advantage);
  NAMED(normalise)(n, s->normalisation, m->advantage, (double *)m->free, (double *)m->free + n);
  NAMED(gather)(s, r, n, 1, s->weight, m->weight);
  if (s->index)
    for (int64_t t = 0; t < n; t++) m->weight[t] = share * m->weight[t] * (REAL)s->counts[r];
  if (s->reference) NAMED(gather)(s, r, n, 1, s->log_prob_reference, m->reference);
}

void NAMED(step)(const NAMED(Step) *s) {
  for (int64_t r = 0; r < s->replicas; r++) {
    NAMED(Local) m;
    int64_t B = s->width;
    NAMED(lay_out)(s, &m, s->work + r * *s->work_stride);
    m.n = s->sizes[r];
    if (m.n == 0) continue;
    if (s->shared) m.value = m.out + s->outputs * m.n;
    if (s->phases & ACT) {
      NAMED(act)(s, &m, r);
      if (s->actor_size) {
        NAMED(collect)(s, &m, r);
        for (int64_t t = 0; t < m.n; t++) m.log_ratio[t] = m.log_prob[t] - m.log_prob_old[t];
        NAMED(exp)(m.n, m.log_ratio, m.ratio);
      }
      if (s->critic_size) NAMED(gather)(s, r, m.n, 1, s->target, m.target);
    }
    if (!(s->phases & JUDGE) && s->actor_size) { /* a plug-in judges */
      if (s->phases & ACT) {
        memcpy(s->log_prob + r * B, m.log_prob, sizeof(REAL) * m.n);
        memcpy(s->acted + r * B, m.log_prob_old, sizeof(REAL) * m.n);
        memcpy(s->judged_by + r * B, m.advantage, sizeof(REAL) * m.n);
      } else {
        memcpy(m.objective, s->value_of + r * B, sizeof(REAL) * m.n);
        memcpy(m.slope, s->slope + r * B, sizeof(REAL) * m.n);
      }
    }
    if (s->actor_size && (s->phases & JUDGE)) NAMED(judge)(s, &m, r);
    if (s->phases & LEARN) {
      if (s->actor_size && s->reference) NAMED(hold)(s, &m, r);
      NAMED(learn)(s, &m, r);
    }
  }
}
