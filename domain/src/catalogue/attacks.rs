//! The attacks there are.

use super::defaults;
use super::entry::{Entry, Parameter};

/// Methods that later versions bring.
pub const PLANNED_ATTACKS: [&str; 11] =
    ["mi-fgsm", "di-fgsm", "cw", "deepfool", "apgd", "fab", "square", "autoattack", "feature", "uap", "transfer"];

/// The methods of `[[attack]]`.
pub fn attacks() -> Vec<Entry> {
    let noise = Entry {
        name: "noise",
        summary: "random points of the ball: the null attack, which every other must beat",
        parameters: with_common(vec![Parameter::new("draws", defaults::NOISE_DRAWS, "independent points tried")]),
    };
    let fgsm = Entry {
        name: "fgsm",
        summary: "one gradient step of length eps (Goodfellow et al. 2015)",
        parameters: with_common(Vec::new()),
    };
    let step = format!("{{ of_eps = {} }}", defaults::PGD_STEP_OF_EPS);
    let pgd = Entry {
        name: "pgd",
        summary: "projected gradient ascent on the cross-entropy (Madry et al. 2018)",
        parameters: with_common(vec![
            Parameter::new("steps", defaults::PGD_STEPS, "steps per restart"),
            Parameter::new("step_size", step, "length of a step: absolute, such as \"2/255\", or a multiple of eps"),
            Parameter::new("random_start", defaults::PGD_RANDOM_START, "start at a random point of the ball"),
            Parameter::new("restarts", defaults::PGD_RESTARTS, "independent tries; the first that succeeds counts"),
        ]),
    };
    vec![noise, fgsm, pgd]
}

fn with_common(own: Vec<Parameter>) -> Vec<Parameter> {
    let mut parameters = vec![
        Parameter::required("eps", "radius in pixel space [0,1], such as \"8/255\"; a list is an axis of the grid"),
        Parameter::new("norm", "\"linf\"", "\"linf\" or \"l2\""),
    ];
    parameters.extend(own);
    parameters.push(Parameter::new("early_stop", defaults::EARLY_STOP, "an example leaves as soon as it is fooled"));
    parameters.push(Parameter::new("examples", "all", "evaluate the first so many examples of the test split"));
    parameters
}
