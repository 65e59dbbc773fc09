//! The recipes there are.

use super::defaults;
use super::entry::{Entry, Parameter};

/// Methods that later versions bring.
pub const PLANNED_RECIPES: [&str; 3] = ["linear-probe", "fast-at", "trades"];

/// The methods of `[[recipe]]`.
pub fn recipes() -> Vec<Entry> {
    vec![
        Entry { name: "standard", summary: "cross-entropy on the training images", parameters: training(Vec::new()) },
        Entry {
            name: "pgd-at",
            summary: "cross-entropy on adversarial examples alone (Madry et al. 2018)",
            parameters: training(inner(None, defaults::PGD_AT_STEPS, defaults::PGD_AT_STEP_OF_EPS, "uniform")),
        },
        Entry {
            name: "dm",
            summary: "discrepancy mitigation (Zhang et al., arXiv 2106.10989)",
            parameters: training(dm()),
        },
        Entry { name: "none", summary: "no training: the init is evaluated as it is", parameters: Vec::new() },
    ]
}

fn dm() -> Vec<Parameter> {
    let mut parameters = vec![
        Parameter::new("beta", defaults::DM_BETA, "the study's β; the coefficient is β / batch_size"),
        Parameter::new("coefficient", "beta / batch_size", "weight of the mean squared distance of the features"),
    ];
    let eps = format!("\"{}\"", defaults::DM_EPS);
    parameters.extend(inner(Some(eps), defaults::DM_STEPS, defaults::DM_STEP_OF_EPS, "gaussian"));
    parameters
}

fn inner(eps: Option<String>, steps: u32, of_eps: f64, start: &str) -> Vec<Parameter> {
    vec![
        Parameter { key: "inner.eps", default: eps, meaning: "radius of the inner attack in pixel space [0,1]" },
        Parameter::new("inner.norm", "\"linf\"", "its norm: \"linf\" or \"l2\""),
        Parameter::new("inner.steps", steps, "its steps"),
        Parameter::new(
            "inner.step_size",
            format!("{{ of_eps = {of_eps} }}"),
            "its step: absolute or a multiple of eps",
        ),
        Parameter::new(
            "inner.start",
            format!("\"{start}\""),
            "its first point: \"clean\", \"uniform\" or \"gaussian\"",
        ),
    ]
}

fn training(own: Vec<Parameter>) -> Vec<Parameter> {
    let adam = format!("{{ kind = \"adam\", learning_rate = {} }}", defaults::ADAM_LEARNING_RATE);
    let last = format!("{} (adam), {} (sgd)", defaults::ADAM_FINAL_LEARNING_RATE, defaults::SGD_FINAL_LEARNING_RATE);
    let decay = format!("{} (sgd, adam), {} (adamw)", defaults::WEIGHT_DECAY, defaults::ADAMW_WEIGHT_DECAY);
    let betas = format!("{:?}", defaults::BETAS);
    let mut parameters = vec![
        Parameter::new("epochs", defaults::EPOCHS, "passes over the training split; or `iterations`"),
        Parameter::new("iterations", "-", "steps of the optimiser; or `epochs`"),
        Parameter::new("batch_size", defaults::BATCH_SIZE, "examples per step"),
        Parameter::new(
            "micro_batch_size",
            "-",
            "examples that go through the model together, a divisor of batch_size; with batch normalisation another recipe",
        ),
        Parameter::new("optimizer", adam, "{ kind = \"sgd\" | \"adam\" | \"adamw\", learning_rate, … }"),
        Parameter::new("optimizer.momentum", defaults::MOMENTUM, "sgd only"),
        Parameter::new("optimizer.nesterov", false, "sgd only: Nesterov's form of momentum"),
        Parameter::new("optimizer.betas", betas, "adam, adamw: decay rates of the two moments"),
        Parameter::new("optimizer.epsilon", defaults::EPSILON, "adam, adamw: added to the root of the second moment"),
        Parameter::new("optimizer.weight_decay", decay, "L2 penalty (sgd, adam) or decoupled (adamw)"),
        Parameter::new(
            "optimizer.decay_norm_and_bias",
            defaults::DECAY_NORM_AND_BIAS,
            "false: parameters of one dimension do not decay",
        ),
        Parameter::new("gradient_clip", "-", "largest L2 norm of all gradients together"),
        Parameter::new("schedule.kind", "\"cosine\"", "\"cosine\", \"constant\", \"step\" or \"one-cycle\""),
        Parameter::new("schedule.warmup", defaults::WARMUP, "share of the steps with a linear warm-up; not one-cycle"),
        Parameter::new("schedule.final_learning_rate", last, "cosine only: learning rate after the last step"),
        Parameter::new("schedule.every", "-", "step only: epochs between drops; or `milestones`"),
        Parameter::new("schedule.milestones", "-", "step only: epochs after which the rate drops; or `every`"),
        Parameter::new("schedule.gamma", defaults::GAMMA, "step only: factor of a drop"),
        Parameter::new("schedule.pct_start", defaults::PCT_START, "one-cycle only: share of the steps that rise"),
        Parameter::new("schedule.div_factor", defaults::DIV_FACTOR, "one-cycle only: peak over first rate"),
        Parameter::new("schedule.final_div_factor", defaults::FINAL_DIV_FACTOR, "one-cycle only: first over last rate"),
        Parameter::new(
            "precision",
            "\"f32\"",
            "\"f32\" or \"bf16\": number format of convolutions and matrix products",
        ),
        Parameter::new("ema.decay", "-", "average the weights; 0.999 where `ema = {}`"),
        Parameter::new("validation.share", "-", "share of the train split to choose the best epoch by; or `examples`"),
        Parameter::new("validation.examples", "-", "number of examples to choose the best epoch by; or `share`"),
        Parameter::new("validation.seed", "-", "which examples these are; 0 where nothing is said"),
        Parameter::new("validation.select_by", "-", "\"accuracy\", \"robust-accuracy\" or \"loss\""),
        Parameter::new("augment.shift", 0, "largest random shift along each axis, in pixels"),
        Parameter::new("augment.flip", false, "mirror left and right at random"),
    ];
    parameters.extend(own);
    parameters
}
