//! Values that stand where a sweep file says nothing.

/// Seed of the only run where no seeds are given.
pub const SEED: u64 = 0;
/// Mean and standard deviation of a model's normalisation, for every channel.
pub const NORMALIZE: f64 = 0.5;

/// Glyphs: examples of the train split.
pub const GLYPH_TRAIN_EXAMPLES: u32 = 2_600;
/// Glyphs: examples of the test split.
pub const GLYPH_TEST_EXAMPLES: u32 = 1_300;
/// Glyphs: side of an image.
pub const GLYPH_IMAGE_SIZE: u32 = 32;
/// Glyphs: seed of the random streams.
pub const GLYPH_SEED: u64 = 0;
/// Glyphs: largest rotation, in degrees.
pub const GLYPH_ROTATION_DEGREES: f64 = 15.0;
/// Glyphs: smallest font size.
pub const GLYPH_MIN_SIZE: f64 = 0.5;
/// Glyphs: largest font size.
pub const GLYPH_MAX_SIZE: f64 = 0.78;
/// Glyphs: largest shift.
pub const GLYPH_SHIFT: f64 = 0.0625;
/// Glyphs: standard deviation of the noise.
pub const GLYPH_NOISE: f64 = 0.05;

/// Recipes: epochs (the study's protocol).
pub const EPOCHS: u32 = 90;
/// Recipes: examples per step (the study's protocol).
pub const BATCH_SIZE: u32 = 128;
/// Adam: peak learning rate (the study's protocol).
pub const ADAM_LEARNING_RATE: f64 = 3e-4;
/// SGD: momentum.
pub const MOMENTUM: f64 = 0.9;
/// Optimisers: L2 penalty.
pub const WEIGHT_DECAY: f64 = 0.0;
/// AdamW: peak learning rate (PyTorch).
pub const ADAMW_LEARNING_RATE: f64 = 1e-3;
/// AdamW: weight decay (PyTorch).
pub const ADAMW_WEIGHT_DECAY: f64 = 1e-2;
/// Adam, AdamW: decay rates of the two moments (PyTorch).
pub const BETAS: [f64; 2] = [0.9, 0.999];
/// Adam, AdamW: what is added to the root of the second moment (PyTorch).
pub const EPSILON: f64 = 1e-8;
/// Optimisers: whether biases and normalisations decay too (PyTorch).
pub const DECAY_NORM_AND_BIAS: bool = true;
/// Schedules: share of the steps that warm up.
pub const WARMUP: f64 = 0.0;
/// Cosine, for Adam: learning rate after the last step (the study's protocol).
pub const ADAM_FINAL_LEARNING_RATE: f64 = 1e-6;
/// Cosine, for SGD: learning rate after the last step.
pub const SGD_FINAL_LEARNING_RATE: f64 = 0.0;
/// Step schedule: factor of a drop (PyTorch).
pub const GAMMA: f64 = 0.1;
/// One cycle: share of the steps that rise (PyTorch).
pub const PCT_START: f64 = 0.3;
/// One cycle: peak over first rate (PyTorch).
pub const DIV_FACTOR: f64 = 25.0;
/// One cycle: first over last rate (PyTorch).
pub const FINAL_DIV_FACTOR: f64 = 1e4;
/// EMA: weight of the past.
pub const EMA_DECAY: f64 = 0.999;
/// Validation: share of the train split.
pub const VALIDATION_SHARE: f64 = 0.1;
/// Validation: seed of the choice.
pub const VALIDATION_SEED: u64 = 0;

/// pgd-at: steps of the inner attack (Madry et al.).
pub const PGD_AT_STEPS: u32 = 7;
/// pgd-at: step of the inner attack, as a multiple of its ε.
pub const PGD_AT_STEP_OF_EPS: f64 = 0.25;
/// Ramp of ε: share of the steps without perturbation (arXiv 2509.23325).
pub const EPS_SCHEDULE_ZERO: f64 = 0.25;
/// Ramp of ε: share of the steps that it takes (arXiv 2509.23325).
pub const EPS_SCHEDULE_RAMP: f64 = 0.5;
/// Recipes: label smoothing.
pub const LABEL_SMOOTHING: f64 = 0.0;
/// Recipes: whether the architecture's own dropout is on.
pub const DROPOUT: bool = true;
/// fast-at: its step, as a multiple of its ε (Wong et al.).
pub const FAST_AT_STEP_OF_EPS: f64 = 1.25;
/// free-at: times each minibatch is shown (the published code).
pub const FREE_AT_REPLAYS: u32 = 8;
/// free-at: its step, as a multiple of its ε (the published code).
pub const FREE_AT_STEP_OF_EPS: f64 = 1.0;
/// trades: weight of the divergence (the published training script; the study takes 1).
pub const TRADES_BETA: f64 = 6.0;
/// trades, mart: steps of the inner attack (the published code).
pub const TRADES_STEPS: u32 = 10;
/// trades, mart: step of the inner attack, as a multiple of its ε (the published code: 0.007 at ε 0.031).
pub const TRADES_STEP_OF_EPS: f64 = 0.226;
/// mart: weight of the divergence (the published training script).
pub const MART_LAMBDA: f64 = 5.0;
/// twins: weight of the half with frozen statistics (the published training script for CIFAR).
pub const TWINS_LAMBDA: f64 = 1.0;
/// twins: steps of the inner attack (the published code).
pub const TWINS_STEPS: u32 = 10;
/// twins: step of the inner attack, as a multiple of its ε (the published code: 2/255 at ε 8/255).
pub const TWINS_STEP_OF_EPS: f64 = 0.25;
/// dm: β (the study).
pub const DM_BETA: f64 = 500.0;
/// dm: ε of the inner attack (the study).
pub const DM_EPS: &str = "0.5/255";
/// dm: steps of the inner attack (the study).
pub const DM_STEPS: u32 = 10;
/// dm: step of the inner attack, as a multiple of its ε (the study).
pub const DM_STEP_OF_EPS: f64 = 0.125;

/// pgd: steps per restart.
pub const PGD_STEPS: u32 = 20;
/// pgd: length of a step, as a multiple of ε.
pub const PGD_STEP_OF_EPS: f64 = 0.25;
/// pgd: whether it starts at a random point of the ball.
pub const PGD_RANDOM_START: bool = true;
/// pgd: independent tries.
pub const PGD_RESTARTS: u32 = 1;
/// noise: independent points tried.
pub const NOISE_DRAWS: u32 = 1;
/// Attacks: whether an example leaves as soon as it is fooled.
pub const EARLY_STOP: bool = true;
