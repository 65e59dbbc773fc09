//! The analyses there are.

use super::defaults;
use super::entry::{Entry, Parameter};

const EPSILONS: &str = "radii in pixel space [0,1], such as [\"1/255\", \"4/255\"]";
const NORM: &str = "\"linf\" or \"l2\"";
const AGAINST: &str = "\"start\" for what each run started from, or another run, such as { init = \"scratch\" }";

/// The methods of `[[analysis]]`, and what is made of data sets by `features`.
pub fn analyses() -> Vec<Entry> {
    let mut entries = looks();
    entries.extend(attacks());
    entries.push(construction());
    entries
}

/// What shows images, changed or not, and attacks none.
fn looks() -> Vec<Entry> {
    let similarity = vec![
        Parameter::required("against", AGAINST),
        Parameter::new("threshold", defaults::SIMILARITY_THRESHOLD, "share of the variance that SVCCA keeps"),
    ];
    let heat_map = vec![
        Parameter::new("norm", defaults::HEAT_MAP_NORM, "L2 norm of a wave in one channel"),
        Parameter::new("reach", defaults::HEAT_MAP_REACH, "largest frequency to either side, in cycles per image"),
    ];
    let radii = "where the low frequencies end, in cycles per image";
    let frequency = vec![Parameter::new("radii", listed(&defaults::FREQUENCY_RADII), radii)];
    let kinds: Vec<String> = defaults::CORRUPTION_KINDS.iter().map(|kind| format!("\"{}\"", kind.name())).collect();
    let corruptions = vec![
        Parameter::new("kinds", format!("[{}]", kinds.join(", ")), "which"),
        Parameter::new("severities", listed(&defaults::CORRUPTION_SEVERITIES), "how strong, 1 to 5"),
    ];
    let saliency = vec![
        Parameter::required("against", AGAINST),
        Parameter::new("steps", defaults::SALIENCY_STEPS, "steps of integrated gradients"),
    ];
    vec![
        asked("similarity", "how alike the layers of two models are: linear CKA, CCA, SVCCA, PWCCA", similarity),
        asked("frequency", "accuracy on the low and on the high frequencies of images", frequency),
        asked(
            "heat-map",
            "errors when a wave of a single frequency is added (Yin et al. 2019, arXiv 1906.08988)",
            heat_map,
        ),
        asked("corruptions", "accuracy under ImageNet-C's corruptions (arXiv 1903.12261)", corruptions),
        asked("saliency", "how alike the pixels are by which two models go", saliency),
    ]
}

fn attacks() -> Vec<Entry> {
    let crafted = || {
        vec![
            Parameter::required("epsilons", EPSILONS),
            Parameter::new("norm", "\"linf\"", NORM),
            Parameter::new("steps", defaults::ANALYSIS_STEPS, "steps of 1.5 eps / steps, from the image itself"),
        ]
    };
    let transfer = [vec![Parameter::required("against", AGAINST)], crafted()].concat();
    let uap = vec![
        Parameter::required("against", AGAINST),
        Parameter::required("eps", "radius in pixel space [0,1], such as \"10/255\""),
        Parameter::new("norm", "\"linf\"", NORM),
        Parameter::new("by", "\"deepfool\"", "\"deepfool\" or \"gradient\", with the keys of the attack `uap`"),
        Parameter::new("passes", defaults::UAP_PASSES, "most passes over the examples it is crafted on"),
        Parameter::new("fooling_rate", defaults::UAP_FOOLING_RATE, "share of them that ends the crafting once fooled"),
        Parameter::new(
            "craft_examples",
            "half of the examples",
            "examples it is crafted on; it is shown to the others",
        ),
    ];
    let distances: Vec<String> =
        defaults::LANDSCAPE_GREY_LEVELS.iter().map(|levels| format!("\"{levels}/255\"")).collect();
    let distances = format!("[{}]", distances.join(", "));
    let landscape = vec![Parameter::new("distances", distances, "how far from the images, in L∞")];
    vec![
        asked("transfer", "how often adversarial examples of one model fool another, both ways", transfer),
        asked("uap", "whom one perturbation of all images fools that was crafted on one of two models", uap),
        asked("landscape", "the loss along its gradient and along random signs: masked gradients", landscape),
        asked("confidence", "how sure a model is of the true class, under attack too", crafted()),
        asked("spectrum", "at which frequencies adversarial perturbations lie", crafted()),
    ]
}

fn construction() -> Entry {
    let of_represented = "`robust`, `non-robust`: L2 length of a step; `rand`, `det`: as that of an attack";
    Entry {
        name: "robust-features",
        summary: "no [[analysis]] but `features = { … }` of a [[dataset]]: trains on what a model sees (Ilyas et al. 2019, arXiv 1905.02175)",
        parameters: vec![
            Parameter::required("features.set", "\"robust\", \"non-robust\", \"rand\" or \"det\""),
            Parameter::required("features.from", "the init whose model looks"),
            Parameter::new(
                "features.steps",
                format!("{}; `rand`, `det`: {}", defaults::REPRESENTATION_STEPS, defaults::TARGET_STEPS),
                "gradient steps for each image",
            ),
            Parameter::new(
                "features.step_size",
                format!(
                    "{}; `rand`, `det`: {{ of_eps = {} }}",
                    defaults::REPRESENTATION_STEP_SIZE,
                    defaults::TARGET_STEP_OF_EPS
                ),
                of_represented,
            ),
            Parameter::new("features.norm", "\"l2\"", "of `rand` and `det`: \"l2\" or \"linf\""),
            Parameter::new("features.eps", defaults::TARGET_EPS, "of `rand` and `det`: radius; required in \"linf\""),
        ],
    }
}

fn asked(name: &'static str, summary: &'static str, own: Vec<Parameter>) -> Entry {
    let mut parameters = own;
    parameters.push(Parameter::new("examples", "all", "the first so many examples of the test split"));
    parameters.push(Parameter::new("runs", "all", "the runs it is asked of, such as { init = \"pretrained\" }"));
    Entry { name, summary, parameters }
}

fn listed(numbers: &[impl ToString]) -> String {
    format!("[{}]", numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}
