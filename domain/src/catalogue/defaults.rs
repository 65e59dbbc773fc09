//! Values that stand where a sweep file says nothing.

use crate::experiment::{ApgdLoss, AutoAttackVersion, Corruption};

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

/// Image files of the catalogue: side of an image.
pub const FOLDER_IMAGE_SIZE: u32 = 224;
/// Image files: shorter side before the centre is cut out, in 224ths of the image's side (torchvision's 256 for 224).
pub const FOLDER_RESIZE: u32 = 256;
/// Image files, split by a seed: the seed.
pub const SPLIT_SEED: u64 = 0;

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

/// Random resized crop: smallest and largest share of the area (torchvision's).
pub const RESIZED_CROP_SCALE: [f64; 2] = [0.08, 1.0];
/// Random resized crop: smallest and largest aspect ratio (torchvision's).
pub const RESIZED_CROP_RATIO: [f64; 2] = [3.0 / 4.0, 4.0 / 3.0];

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
/// Attacks: AAI under the earlier attack of a cascade up to which this one is pointless.
pub const CASCADE_UNTIL_AAI: f64 = 0.0;

/// mi-fgsm: steps (Dong et al. 2018, arXiv 1710.06081).
pub const MI_FGSM_STEPS: u32 = 10;
/// mi-fgsm: length of a step, as a multiple of ε: ε over the steps (Dong et al.).
pub const MI_FGSM_STEP_OF_EPS: f64 = 0.1;
/// mi-fgsm: factor of the accumulated gradient (Dong et al.).
pub const MI_FGSM_DECAY: f64 = 1.0;

/// di-fgsm: steps, as of mi-fgsm.
pub const DI_FGSM_STEPS: u32 = 10;
/// di-fgsm: length of a step, as a multiple of ε, as of mi-fgsm.
pub const DI_FGSM_STEP_OF_EPS: f64 = 0.1;
/// di-fgsm: factor of the accumulated gradient; the method without momentum (Xie et al. 2019, arXiv 1803.06978).
pub const DI_FGSM_DECAY: f64 = 0.0;
/// di-fgsm: smallest share of the side (Xie et al.: 299 of 330 pixels; torchattacks).
pub const DI_FGSM_RESIZE_RATE: f64 = 0.9;
/// di-fgsm: probability that an input is transformed (Xie et al.).
pub const DI_FGSM_PROBABILITY: f64 = 0.5;
/// di-fgsm: whether it starts at a random point of the ball (Xie et al.).
pub const DI_FGSM_RANDOM_START: bool = false;

/// cw: by how much the wrong logit has to exceed the right one (Carlini & Wagner 2017, arXiv 1608.04644, and their code).
pub const CW_CONFIDENCE: f64 = 0.0;
/// cw: steps per constant (Carlini & Wagner).
pub const CW_STEPS: u32 = 10_000;
/// cw: learning rate (Carlini & Wagner).
pub const CW_LEARNING_RATE: f64 = 0.01;
/// cw: first constant (Carlini & Wagner).
pub const CW_INITIAL_CONST: f64 = 1e-3;
/// cw: constants tried (Carlini & Wagner).
pub const CW_BINARY_SEARCH_STEPS: u32 = 9;

/// deepfool: most steps (Moosavi-Dezfooli et al. 2016, arXiv 1511.04599, and their code).
pub const DEEPFOOL_STEPS: u32 = 50;
/// deepfool: overshoot (Moosavi-Dezfooli et al.).
pub const DEEPFOOL_OVERSHOOT: f64 = 0.02;
/// deepfool: most classes considered (Moosavi-Dezfooli et al.).
pub const DEEPFOOL_CANDIDATES: u32 = 10;

/// apgd: what is climbed: the first of AutoAttack's (Croce & Hein 2020, arXiv 2003.01690).
pub const APGD_LOSS: ApgdLoss = ApgdLoss::Ce;
/// apgd: steps per restart (Croce & Hein).
pub const APGD_STEPS: u32 = 100;
/// apgd: independent tries, as in AutoAttack (Croce & Hein).
pub const APGD_RESTARTS: u32 = 1;
/// apgd: share of the steps that must have raised the loss (Croce & Hein).
pub const APGD_RHO: f64 = 0.75;
/// apgd, fab: most target classes (Croce & Hein).
pub const TARGET_CLASSES: u32 = 9;

/// fab: whether it goes towards one class at a time (Croce & Hein 2020, arXiv 1907.02044).
pub const FAB_TARGETED: bool = false;
/// fab: steps per restart (Croce & Hein).
pub const FAB_STEPS: u32 = 100;
/// fab: independent tries, as in AutoAttack.
pub const FAB_RESTARTS: u32 = 1;
/// fab: largest weight of the original point (Croce & Hein).
pub const FAB_ALPHA_MAX: f64 = 0.1;
/// fab: weight of the step back (Croce & Hein).
pub const FAB_BETA: f64 = 0.9;
/// fab: overshoot (Croce & Hein).
pub const FAB_ETA: f64 = 1.05;

/// square: most queries (AutoAttack; Croce & Hein 2020, arXiv 2003.01690).
pub const SQUARE_QUERIES: u32 = 5_000;
/// square: share of the pixels that the first squares cover (AutoAttack).
pub const SQUARE_P_INIT: f64 = 0.8;
/// square: independent tries (AutoAttack).
pub const SQUARE_RESTARTS: u32 = 1;

/// autoattack: which ensemble.
pub const AUTOATTACK_VERSION: AutoAttackVersion = AutoAttackVersion::Standard;

/// feature: steps per restart, as of pgd.
pub const FEATURE_STEPS: u32 = 20;
/// feature: length of a step, as a multiple of ε, as of pgd.
pub const FEATURE_STEP_OF_EPS: f64 = 0.25;
/// feature: independent tries, as of pgd.
pub const FEATURE_RESTARTS: u32 = 1;

/// uap: most examples of the train split it is crafted on: the smallest set that Moosavi-Dezfooli et al. (2017, arXiv 1610.08401) report.
pub const UAP_CRAFT_EXAMPLES: u32 = 500;
/// uap: most passes over them; the published code has no limit.
pub const UAP_PASSES: u32 = 10;
/// uap: share of fooled examples that ends the crafting (Moosavi-Dezfooli et al., 1 − δ of their code).
pub const UAP_FOOLING_RATE: f64 = 0.8;
/// uap by DeepFool: most steps per image (their code).
pub const UAP_DEEPFOOL_STEPS: u32 = 10;
/// uap by gradient: length of a step, as a multiple of ε.
pub const UAP_STEP_OF_EPS: f64 = 0.1;
/// uap by gradient: examples per step.
pub const UAP_BATCH_SIZE: u32 = 128;

/// similarity: share of the variance that the directions explain which SVCCA keeps (the study's code).
pub const SIMILARITY_THRESHOLD: f64 = 0.98;
/// frequency: where the low frequencies end, in cycles per image; the last is the study's.
pub const FREQUENCY_RADII: [f64; 4] = [2.0, 4.0, 8.0, 16.0];
/// L2 norm of the waves of a heat map, in one channel.
pub const HEAT_MAP_NORM: f64 = 4.0;
/// Largest frequency of a heat map.
pub const HEAT_MAP_REACH: u32 = 4;
/// corruptions: which (all of Hendrycks & Dietterich 2019, arXiv 1903.12261).
pub const CORRUPTION_KINDS: [Corruption; 19] = Corruption::ALL;
/// corruptions: how strong (Hendrycks & Dietterich).
pub const CORRUPTION_SEVERITIES: [u32; 5] = [1, 2, 3, 4, 5];
/// Analyses that attack images: steps (the study's protocol).
pub const ANALYSIS_STEPS: u32 = 10;
/// Analyses that attack images: how far all steps lead together, as a multiple of ε (the study's protocol).
pub const ANALYSIS_REACH: f64 = 1.5;
/// landscape: how far from the originals, in 255ths.
pub const LANDSCAPE_GREY_LEVELS: [f64; 4] = [1.0, 2.0, 4.0, 8.0];
/// features of a data set by representation: steps (Ilyas et al. 2019, arXiv 1905.02175).
pub const REPRESENTATION_STEPS: u32 = 1_000;
/// features of a data set by representation: L2 length of a step (Ilyas et al.).
pub const REPRESENTATION_STEP_SIZE: f64 = 0.1;
/// features of a data set by targets: steps (Ilyas et al.).
pub const TARGET_STEPS: u32 = 100;
/// features of a data set by targets: length of a step, as a multiple of ε (Ilyas et al.: 0.1 of 0.5).
pub const TARGET_STEP_OF_EPS: f64 = 0.2;
/// features of a data set by targets: radius in L2 (Ilyas et al.).
pub const TARGET_EPS: f64 = 0.5;

/// saliency: steps of integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365: 20 to 300 are enough).
pub const SALIENCY_STEPS: u32 = 32;
