//! What each claim compares in a sweep.

use super::Sign;
use super::comparison::Cell;
use super::evaluation::{Evaluation, Measure};
use super::rows::Rows;
use super::ways::{bands, dm, more_classes, robust, robust_dm, twins};
use crate::sweep::Sweep;

/// A claim and what there is to decide it.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) id: &'static str,
    pub(super) statement: &'static str,
    pub(super) needs: &'static str,
    pub(super) measure: Measure,
    pub(super) claimed: Sign,
    pub(super) cells: Vec<Cell<'a>>,
}

const TWINS: &str = "an init of ordinary pre-training (or an imported checkpoint) and the scratch init, trained by the same recipe or a standard one";
const MATCHED_TWINS: &str = "an init of ordinary pre-training (or an imported checkpoint) and the scratch init, trained by the same recipe or a standard one, and the outcomes per example of both";
const ROBUST: &str = "an init of robust pre-training and one of ordinary pre-training, fine-tuned by the same recipe";
const DM: &str = "a recipe of method dm and one of method standard, from the same pre-trained init";
const ROBUST_DM: &str =
    "a recipe of method dm from an init of robust pre-training, and one of method standard from an ordinary one";
const NOISE: &str = "the attack noise and an attack that follows gradients, at the same norm and ε";

const BANDS: &str =
    "inits of ordinary pre-training on the low and on the high frequencies of the same source, at the same radius";
const RATES: &str = "two or more recipes of ordinary fine-tuning that differ in nothing but learning rates or what is frozen, from an init of ordinary pre-training (or an imported checkpoint), and their standard twins";
const CLASSES: &str = "inits of ordinary pre-training by the same recipe, whose sources differ in nothing but how many of the same classes are kept";
const CUE: &str = "inits of ordinary pre-training on letters with a planted cue and on letters without, or with a shuffled one, and an L∞ attack at an ε above the cue's amplitude";

/// Every claim and control, with the evaluations that answer it.
pub(super) fn ask<'a>(sweep: &'a Sweep, evaluations: &'a [Evaluation]) -> Vec<Question<'a>> {
    let rows = Rows::new(sweep, evaluations);
    let question =
        |id, statement, needs, measure, claimed, cells| Question { id, statement, needs, measure, claimed, cells };
    let twins = twins(sweep);
    let (aai, positive, negative) = (Measure::Aai, Sign::Positive, Sign::Negative);
    vec![
        question(
            "P1a",
            "The fine-tuned model is more accurate on original inputs (AOI) than its standard twin",
            TWINS,
            Measure::Aoi,
            positive,
            rows.once_per_model(&twins),
        ),
        question(
            "P1b",
            "The fine-tuned model is less accurate on adversarial inputs (AAI) than its standard twin",
            TWINS,
            aai,
            negative,
            rows.of(&twins),
        ),
        question(
            "P1c",
            "The fine-tuned model has a higher decline ratio (DR) than its standard twin",
            TWINS,
            Measure::DeclineRatio,
            positive,
            rows.of(&twins),
        ),
        question(
            "P1d",
            "On the inputs that both get right before the attack, the fine-tuned model is less accurate under it than its standard twin: AAI at matched AOI",
            MATCHED_TWINS,
            Measure::MatchedAai,
            negative,
            rows.of(&twins),
        ),
        question(
            "P2",
            "At other learning rates and freezing depths, too, the fine-tuned model is less accurate on adversarial inputs (AAI) than its standard twin",
            RATES,
            aai,
            negative,
            rows.across_rates(&twins),
        ),
        question(
            "P5",
            "Pre-training on the low frequencies of a source gives a higher AAI than pre-training on its high ones",
            BANDS,
            aai,
            positive,
            rows.of(&bands(sweep)),
        ),
        question(
            "P6b",
            "A source of more classes gives a higher AAI (the sign is this project's hypothesis, not a finding of the study)",
            CLASSES,
            aai,
            positive,
            rows.of(&more_classes(sweep)),
        ),
        question(
            "P7a",
            "Robust pre-training gives a higher AAI than ordinary pre-training, under the same fine-tuning",
            ROBUST,
            aai,
            positive,
            rows.of(&robust(sweep)),
        ),
        question(
            "P7b",
            "DM fine-tuning gives a higher AAI than ordinary fine-tuning of the same pre-trained model",
            DM,
            aai,
            positive,
            rows.of(&dm(sweep)),
        ),
        question(
            "P7c",
            "Robust pre-training with DM fine-tuning gives a higher AAI than ordinary pre-training with ordinary fine-tuning",
            ROBUST_DM,
            aai,
            positive,
            rows.of(&robust_dm(sweep)),
        ),
        question(
            "C1",
            "Control: random noise leaves a higher AAI than an attack that follows gradients in the same ball",
            NOISE,
            aai,
            positive,
            rows.noise(),
        ),
        question(
            "C2",
            "Control: pre-training on letters that a planted cue tells gives a lower AAI, beyond the cue's amplitude, than on letters without such a cue",
            CUE,
            aai,
            negative,
            rows.cue(),
        ),
    ]
}

/// The cells of fine-tuned models and their standard twins.
pub(super) fn of_twins<'a>(sweep: &'a Sweep, evaluations: &'a [Evaluation]) -> Vec<Cell<'a>> {
    Rows::new(sweep, evaluations).of(&twins(sweep))
}
