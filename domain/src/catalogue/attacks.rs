//! The attacks there are.

use super::defaults;
use super::entry::{Entry, Parameter};

const STEP: &str = "length of a step: absolute, such as \"2/255\", or a multiple of eps";
const TRIES: &str = "independent tries; the first that succeeds counts";
const RANDOM_START: &str = "start at a random point of the ball";

/// Norms of a method, its usual one first, as the catalogue writes them.
const ALL_NORMS: [&str; 2] = ["\"linf\"", "\"linf\", \"l2\" or \"l1\""];
const TWO_NORMS: [&str; 2] = ["\"linf\"", "\"linf\" or \"l2\""];
const L2_FIRST: [&str; 2] = ["\"l2\"", "\"l2\" or \"linf\""];
const L2_ALONE: [&str; 2] = ["\"l2\"", "\"l2\""];

/// The methods of `[[attack]]`.
pub fn attacks() -> Vec<Entry> {
    let mut entries = in_the_ball();
    entries.extend(minimum_norm());
    entries.extend(adaptive());
    entries.extend(crafted_elsewhere());
    entries
}

fn in_the_ball() -> Vec<Entry> {
    let noise = vec![Parameter::new("draws", defaults::NOISE_DRAWS, "independent points tried")];
    let pgd = vec![
        Parameter::new("steps", defaults::PGD_STEPS, "steps per restart"),
        Parameter::new("step_size", of_eps(defaults::PGD_STEP_OF_EPS), STEP),
        Parameter::new("random_start", defaults::PGD_RANDOM_START, RANDOM_START),
        Parameter::new("restarts", defaults::PGD_RESTARTS, TRIES),
    ];
    let mi_fgsm = vec![
        Parameter::new("steps", defaults::MI_FGSM_STEPS, "steps"),
        Parameter::new("step_size", of_eps(defaults::MI_FGSM_STEP_OF_EPS), STEP),
        Parameter::new("decay", defaults::MI_FGSM_DECAY, "factor of the accumulated gradient"),
    ];
    let di_fgsm = vec![
        Parameter::new("steps", defaults::DI_FGSM_STEPS, "steps"),
        Parameter::new("step_size", of_eps(defaults::DI_FGSM_STEP_OF_EPS), STEP),
        Parameter::new("decay", defaults::DI_FGSM_DECAY, "factor of the accumulated gradient; 0 is without momentum"),
        Parameter::new("resize_rate", defaults::DI_FGSM_RESIZE_RATE, "smallest side of the shrunk input, as a share"),
        Parameter::new("diversity_probability", defaults::DI_FGSM_PROBABILITY, "how often an input is transformed"),
        Parameter::new("random_start", defaults::DI_FGSM_RANDOM_START, RANDOM_START),
    ];
    let feature = vec![
        Parameter::new("steps", defaults::FEATURE_STEPS, "steps per restart"),
        Parameter::new("step_size", of_eps(defaults::FEATURE_STEP_OF_EPS), STEP),
        Parameter::new("restarts", defaults::FEATURE_RESTARTS, TRIES),
    ];
    vec![
        Entry {
            name: "noise",
            summary: "random points of the ball: the null attack, which every other must beat",
            parameters: bounded(ALL_NORMS, noise),
        },
        Entry {
            name: "fgsm",
            summary: "one gradient step of length eps (Goodfellow et al. 2015, arXiv 1412.6572)",
            parameters: targetable(TWO_NORMS, Vec::new()),
        },
        Entry {
            name: "pgd",
            summary: "projected gradient ascent on the cross-entropy (Madry et al. 2018, arXiv 1706.06083)",
            parameters: targetable(ALL_NORMS, pgd),
        },
        Entry {
            name: "mi-fgsm",
            summary: "iterated gradient steps with momentum (Dong et al. 2018, arXiv 1710.06081)",
            parameters: targetable(TWO_NORMS, mi_fgsm),
        },
        Entry {
            name: "di-fgsm",
            summary: "the same on randomly shrunk and padded inputs (Xie et al. 2019, arXiv 1803.06978)",
            parameters: targetable(TWO_NORMS, di_fgsm),
        },
        Entry {
            name: "feature",
            summary: "gradient ascent on the distance of the penultimate features from those of the original",
            parameters: bounded(TWO_NORMS, feature),
        },
    ]
}

fn minimum_norm() -> Vec<Entry> {
    let cw = vec![
        Parameter::new("confidence", defaults::CW_CONFIDENCE, "by how much the wrong logit exceeds the right one"),
        Parameter::new("steps", defaults::CW_STEPS, "steps of Adam per constant"),
        Parameter::new("learning_rate", defaults::CW_LEARNING_RATE, "of Adam"),
        Parameter::new("initial_const", defaults::CW_INITIAL_CONST, "first weight of the loss beside the distance"),
        Parameter::new(
            "binary_search_steps",
            defaults::CW_BINARY_SEARCH_STEPS,
            "constants tried by binary search; 1 keeps the first",
        ),
    ];
    let deepfool = vec![
        Parameter::new("steps", defaults::DEEPFOOL_STEPS, "most steps"),
        Parameter::new("overshoot", defaults::DEEPFOOL_OVERSHOOT, "how far beyond the boundary, as a share"),
        Parameter::new("candidates", defaults::DEEPFOOL_CANDIDATES, "classes considered; by default at most all"),
    ];
    let fab = vec![
        Parameter::new("targeted", defaults::FAB_TARGETED, "towards one class at a time"),
        Parameter::new("steps", defaults::FAB_STEPS, "steps per restart"),
        Parameter::new("restarts", defaults::FAB_RESTARTS, "independent tries; the nearest point counts"),
        target_classes("targeted = true: classes tried one after the other; by default at most all wrong ones"),
        Parameter::new("alpha_max", defaults::FAB_ALPHA_MAX, "largest weight of the original point in a step"),
        Parameter::new("beta", defaults::FAB_BETA, "weight of the step back towards the original"),
        Parameter::new("eta", defaults::FAB_ETA, "how far steps go beyond the projection"),
    ];
    vec![
        Entry {
            name: "cw",
            summary: "the nearest point that fools, by Adam (Carlini & Wagner 2017, arXiv 1608.04644)",
            parameters: unbounded(L2_ALONE, cw),
        },
        Entry {
            name: "deepfool",
            summary: "steps to the linearised decision boundary (Moosavi-Dezfooli et al. 2016, arXiv 1511.04599)",
            parameters: unbounded(L2_FIRST, deepfool),
        },
        Entry {
            name: "fab",
            summary: "fast adaptive boundary: a near point that fools (Croce & Hein 2020, arXiv 1907.02044)",
            parameters: unbounded(ALL_NORMS, fab),
        },
    ]
}

fn adaptive() -> Vec<Entry> {
    let loss = format!("\"{}\"", defaults::APGD_LOSS.name());
    let version = format!("\"{}\"", defaults::AUTOATTACK_VERSION.name());
    let apgd = vec![
        Parameter::new("loss", loss, "what is climbed: \"ce\", \"dlr\" (3 classes and up) or \"dlr-targeted\" (4)"),
        Parameter::new("steps", defaults::APGD_STEPS, "steps per restart"),
        Parameter::new("restarts", defaults::APGD_RESTARTS, TRIES),
        Parameter::new("rho", defaults::APGD_RHO, "share of the steps that must have raised the loss to keep the step"),
        target_classes("loss \"dlr-targeted\": classes tried one after the other; by default at most all wrong ones"),
    ];
    let square = vec![
        Parameter::new("queries", defaults::SQUARE_QUERIES, "most forward passes per example and try"),
        Parameter::new("p_init", defaults::SQUARE_P_INIT, "share of the pixels that the first squares cover"),
        Parameter::new("restarts", defaults::SQUARE_RESTARTS, TRIES),
    ];
    let versions = "\"standard\", \"plus\" (both 4 classes and up) or \"rand\" (3)";
    let autoattack = vec![Parameter::new("version", version, versions)];
    vec![
        Entry {
            name: "apgd",
            summary: "gradient ascent that sets its own step size (Croce & Hein 2020, arXiv 2003.01690)",
            parameters: bounded(ALL_NORMS, apgd),
        },
        Entry {
            name: "square",
            summary: "random search by squares, without gradients (Andriushchenko et al. 2020, arXiv 1912.00049)",
            parameters: bounded(TWO_NORMS, square),
        },
        Entry {
            name: "autoattack",
            summary: "the ensemble of APGD, FAB and Square with its published settings (Croce & Hein 2020)",
            parameters: in_one_way(TWO_NORMS, autoattack),
        },
    ]
}

fn crafted_elsewhere() -> Vec<Entry> {
    let fooling = "share of those examples that ends the crafting once fooled";
    let uap = vec![
        Parameter::new(
            "craft_examples",
            defaults::UAP_CRAFT_EXAMPLES,
            "first so many of the train split; by default at most all",
        ),
        Parameter::new("by", "\"deepfool\"", "how it is crafted: \"deepfool\" (as published) or \"gradient\""),
        Parameter::new("passes", defaults::UAP_PASSES, "most passes over those examples"),
        Parameter::new("fooling_rate", defaults::UAP_FOOLING_RATE, fooling),
        Parameter::new("steps", defaults::UAP_DEEPFOOL_STEPS, "by \"deepfool\": most steps per image"),
        Parameter::new("overshoot", defaults::DEEPFOOL_OVERSHOOT, "by \"deepfool\": how far beyond the boundary"),
        Parameter::new("candidates", defaults::DEEPFOOL_CANDIDATES, "by \"deepfool\": classes considered"),
        Parameter::new("step_size", of_eps(defaults::UAP_STEP_OF_EPS), "by \"gradient\": length of a step"),
        Parameter::new("batch_size", defaults::UAP_BATCH_SIZE, "by \"gradient\": examples per step"),
    ];
    let transfer = vec![
        Parameter::required(
            "source",
            "the run of the grid whose model it is crafted on: { init, recipe, backbone = the same, seed = the same }",
        ),
        Parameter::new(
            "by",
            "{ method = \"pgd\" }",
            "the attack on it: { method = …, … } with the keys of that method; none of cw, deepfool, fab, uap, transfer",
        ),
    ];
    vec![
        Entry {
            name: "uap",
            summary: "one perturbation for all images (Moosavi-Dezfooli et al. 2017, arXiv 1610.08401)",
            parameters: in_one_way(TWO_NORMS, uap),
        },
        Entry {
            name: "transfer",
            summary: "the output of an attack on the model of another run (black-box)",
            parameters: in_one_way(TWO_NORMS, transfer),
        },
    ]
}

fn of_eps(multiple: f64) -> String {
    format!("{{ of_eps = {multiple} }}")
}

fn target_classes(meaning: &'static str) -> Parameter {
    Parameter::new("target_classes", defaults::TARGET_CLASSES, meaning)
}

/// Parameters of an attack inside a ball.
fn in_one_way(norms: [&'static str; 2], own: Vec<Parameter>) -> Vec<Parameter> {
    let eps =
        Parameter::required("eps", "radius in pixel space [0,1], such as \"8/255\"; a list is an axis of the grid");
    let mut parameters = with_common(eps, norms, own);
    parameters.push(Parameter {
        key: "stop_at_interval",
        default: Some("all examples".to_owned()),
        meaning: "stop after the first 256 · n examples at which the 95 % interval of AAI is narrower, such as 0.05",
    });
    parameters.push(Parameter {
        key: "cascade",
        default: Some("evaluated in any case".to_owned()),
        meaning: "{ after = \"pgd20\", until_aai = 0.0 }: skip it where that earlier attack left an AAI of no more",
    });
    parameters
}

/// Parameters of one whose iterates may be judged one by one.
fn bounded(norms: [&'static str; 2], own: Vec<Parameter>) -> Vec<Parameter> {
    let mut parameters = in_one_way(norms, own);
    let early_stop =
        "an example leaves as soon as it is fooled; false: every step is done and the last iterate is judged";
    parameters.push(Parameter::new("early_stop", defaults::EARLY_STOP, early_stop));
    parameters
}

/// Parameters of one that can lead to a class.
fn targetable(norms: [&'static str; 2], own: Vec<Parameter>) -> Vec<Parameter> {
    let mut parameters = bounded(norms, own);
    let meaning = "lead to a class, for each example: \"least-likely\", \"runner-up\" or \"random\"";
    parameters.push(Parameter { key: "target", default: Some("any wrong class".to_owned()), meaning });
    parameters
}

/// Parameters of a minimum-norm attack.
fn unbounded(norms: [&'static str; 2], own: Vec<Parameter>) -> Vec<Parameter> {
    let meaning = "radii at which to read the one evaluation off; without any: at any distance";
    let eps = Parameter { key: "eps", default: Some("any distance".to_owned()), meaning };
    with_common(eps, norms, own)
}

fn with_common(eps: Parameter, [norm, norms]: [&'static str; 2], own: Vec<Parameter>) -> Vec<Parameter> {
    let mut parameters = vec![eps, Parameter::new("norm", norm, norms)];
    parameters.extend(own);
    parameters.push(Parameter::new("examples", "all", "evaluate the first so many examples of the test split"));
    parameters
}
