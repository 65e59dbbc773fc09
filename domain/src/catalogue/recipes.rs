//! The recipes there are.

use super::defaults;
use super::entry::{Entry, Parameter};

/// The methods of `[[recipe]]`.
pub fn recipes() -> Vec<Entry> {
    let entry = |name, summary, own| Entry { name, summary, parameters: training(own) };
    let mut recipes = vec![
        entry("standard", "cross-entropy on the training images", [freezing(), head_first("-", "-", "false")].concat()),
        Entry {
            name: "linear-probe",
            summary: "cross-entropy, the head alone is trained: the backbone and its statistics stay as they are",
            parameters: common(),
        },
        entry(
            "lp-ft",
            "a linear probe, then fine-tuning of everything (Kumar et al. 2022, arXiv 2202.10054)",
            [freezing(), head_first("as long as the recipe", "the optimizer's", "false")].concat(),
        ),
    ];
    recipes.extend(adversarial());
    recipes.push(Entry {
        name: "none",
        summary: "no training: the init is evaluated as it is",
        parameters: Vec::new(),
    });
    recipes
}

fn adversarial() -> Vec<Entry> {
    let madry = || inner(None, defaults::PGD_AT_STEPS, defaults::PGD_AT_STEP_OF_EPS, "uniform");
    let published = || inner(None, defaults::TRADES_STEPS, defaults::TRADES_STEP_OF_EPS, "gaussian");
    let twins = || inner(None, defaults::TWINS_STEPS, defaults::TWINS_STEP_OF_EPS, "uniform");
    let beta = || Parameter::new("beta", defaults::TRADES_BETA, "weight of the divergence; the study takes 1");
    let lambda = |value, meaning| Parameter::new("lambda", value, meaning);
    let probed = || head_first("as long as the recipe", "the optimizer's", "true");
    let entry = |name, summary, own: Vec<Parameter>, first: Vec<Parameter>| Entry {
        name,
        summary,
        parameters: training([own, schedule(), freezing(), first].concat()),
    };
    let optional = || head_first("-", "-", "false");
    vec![
        entry(
            "pgd-at",
            "cross-entropy on adversarial examples alone (Madry et al. 2018, arXiv 1706.06083)",
            madry(),
            optional(),
        ),
        entry(
            "robust-linear-init",
            "an adversarial linear probe, then pgd-at on everything (Hua et al. 2024, arXiv 2312.05716)",
            madry(),
            probed(),
        ),
        entry(
            "fast-at",
            "pgd-at with one long step from a random start (Wong et al. 2020, arXiv 2001.03994)",
            one_step(),
            optional(),
        ),
        entry(
            "free-at",
            "every minibatch several times; one backward pass moves weights and perturbation (Shafahi et al. 2019, arXiv 1904.12843)",
            free(),
            optional(),
        ),
        entry(
            "trades",
            "CE(f(x), y) + β KL(p(x) ‖ p(x′)) (Zhang et al. 2019, arXiv 1901.08573)",
            [vec![beta()], published()].concat(),
            optional(),
        ),
        entry(
            "mart",
            "BCE on x′ + λ KL(p(x) ‖ p(x′)) · (1 − p(x)_y) (Wang et al. 2020)",
            [vec![lambda(defaults::MART_LAMBDA, "weight of the divergence")], published()].concat(),
            optional(),
        ),
        entry("dm", "discrepancy mitigation (Zhang et al., arXiv 2106.10989)", dm(), optional()),
        entry(
            "twins",
            "pgd-at, half of the batch under the statistics of the pre-training (Liu et al. 2023, arXiv 2303.11135)",
            [vec![lambda(defaults::TWINS_LAMBDA, "weight of the half with frozen statistics")], twins()].concat(),
            optional(),
        ),
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

/// The inner attack of `fast-at`: its steps and its start are fixed.
fn one_step() -> Vec<Parameter> {
    let mut parameters = inner(None, 1, defaults::FAST_AT_STEP_OF_EPS, "uniform");
    parameters.retain(|parameter| !["inner.steps", "inner.start"].contains(&parameter.key));
    parameters
}

/// What `free-at` lets be said of its perturbation.
fn free() -> Vec<Parameter> {
    let mut parameters = inner(None, 1, defaults::FREE_AT_STEP_OF_EPS, "clean");
    parameters.retain(|parameter| ["inner.eps", "inner.step_size"].contains(&parameter.key));
    let meaning = "times each minibatch is shown, each a step of the optimiser";
    parameters.push(Parameter::new("replays", defaults::FREE_AT_REPLAYS, meaning));
    parameters
}

fn schedule() -> Vec<Parameter> {
    let shares = |key, default, meaning| Parameter::new(key, default, meaning);
    vec![
        Parameter::new("eps_schedule.kind", "\"constant\"", "\"constant\" or \"ramp\" (arXiv 2509.23325), per step"),
        shares("eps_schedule.zero", defaults::EPS_SCHEDULE_ZERO, "ramp only: share of the steps without perturbation"),
        shares("eps_schedule.ramp", defaults::EPS_SCHEDULE_RAMP, "ramp only: share of the steps in which ε grows"),
    ]
}

fn freezing() -> Vec<Parameter> {
    vec![
        Parameter::new("freeze", 0, "frozen stages: a number, the last one's name, or \"backbone\""),
        Parameter::new("dropout", defaults::DROPOUT, "the architecture's own dropout and stochastic depth"),
    ]
}

fn head_first(length: &str, rate: &str, adversarial: &str) -> Vec<Parameter> {
    vec![
        Parameter::new("head_first.epochs", length, "a first phase that trains the head alone; or `iterations`"),
        Parameter::new("head_first.learning_rate", rate, "its peak learning rate"),
        Parameter::new("head_first.adversarial", adversarial, "whether it trains on what the inner attack crafts"),
    ]
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
    [common(), own].concat()
}

fn common() -> Vec<Parameter> {
    let adam = format!("{{ kind = \"adam\", learning_rate = {} }}", defaults::ADAM_LEARNING_RATE);
    let last = format!("{} (adam), {} (sgd)", defaults::ADAM_FINAL_LEARNING_RATE, defaults::SGD_FINAL_LEARNING_RATE);
    let decay = format!("{} (sgd, adam), {} (adamw)", defaults::WEIGHT_DECAY, defaults::ADAMW_WEIGHT_DECAY);
    let betas = format!("{:?}", defaults::BETAS);
    vec![
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
        Parameter::new("optimizer.head_learning_rate", "learning_rate", "peak learning rate of the head"),
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
        Parameter::new("augment.crop", false, "image files: a random part of the image brought to `resize`"),
        Parameter::new(
            "augment.resized_crop",
            "none",
            "image files: a random part resampled to image_size, { scale = [0.08, 1], ratio = [0.75, 1.3333] }",
        ),
        Parameter::new(
            "label_smoothing",
            defaults::LABEL_SMOOTHING,
            "share of the label spread evenly over all classes",
        ),
    ]
}
