//! What each claim compares in a sweep.

use std::collections::BTreeMap;

use super::Sign;
use super::comparison::Cell;
use super::evaluation::{Evaluation, Measure, Pair};
use super::roles::{self, Start};
use crate::experiment::Knowledge;
use crate::findings::is_standard;
use crate::sweep::{AttackSection, InitSection, RecipeSection, Sweep};

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

/// An init and a recipe.
pub(super) type Arm<'a> = (&'a InitSection, &'a RecipeSection);

/// An arm, and what it is held against: the first of these that was evaluated.
pub(super) struct Way<'a> {
    pub(super) first: Arm<'a>,
    pub(super) against: Vec<Arm<'a>>,
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
            "P5",
            "Pre-training on the low frequencies of a source gives a higher AAI than pre-training on its high ones",
            BANDS,
            aai,
            positive,
            rows.of(&bands(sweep)),
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

fn trained(sweep: &Sweep) -> impl Iterator<Item = &RecipeSection> {
    sweep.recipes.iter().filter(|recipe| recipe.training.is_some())
}

fn standard(sweep: &Sweep) -> impl Iterator<Item = &RecipeSection> {
    sweep.recipes.iter().filter(|recipe| is_standard(recipe))
}

/// Fine-tuned models and their standard twins: from scratch by the same recipe or, of ordinary fine-tuning, by a standard one.
pub(super) fn twins(sweep: &Sweep) -> Vec<Way<'_>> {
    let parents =
        || sweep.inits.iter().filter(|init| matches!(Start::of(sweep, init), Start::Ordinary | Start::Imported));
    let twins_of = |recipe| {
        let mut twins = Vec::new();
        for recipe in std::iter::once(recipe).chain(standard(sweep).filter(|_| roles::is_ordinary(recipe))) {
            twins.extend(roles::inits(sweep, Start::Scratch).map(|init| (init, recipe)));
        }
        twins
    };
    parents()
        .flat_map(|init| trained(sweep).map(move |recipe| (init, recipe)))
        .map(|first| Way { first, against: twins_of(first.1) })
        .collect()
}

fn robust(sweep: &Sweep) -> Vec<Way<'_>> {
    let way = |init, recipe| {
        let others = roles::counterparts(sweep, init).into_iter();
        others.map(move |other| Way { first: (init, recipe), against: vec![(other, recipe)] })
    };
    roles::inits(sweep, Start::Robust)
        .flat_map(|init| trained(sweep).flat_map(move |recipe| way(init, recipe)))
        .collect()
}

fn dm(sweep: &Sweep) -> Vec<Way<'_>> {
    let pretrained = sweep.inits.iter().filter(|init| Start::of(sweep, init) != Start::Scratch);
    let recipes = || sweep.recipes.iter().filter(|recipe| roles::is_dm(recipe));
    let way =
        |init, recipe| standard(sweep).map(move |other| Way { first: (init, recipe), against: vec![(init, other)] });
    pretrained.flat_map(|init| recipes().flat_map(move |recipe| way(init, recipe))).collect()
}

fn robust_dm(sweep: &Sweep) -> Vec<Way<'_>> {
    let mut ways = Vec::new();
    for init in roles::inits(sweep, Start::Robust) {
        for recipe in sweep.recipes.iter().filter(|recipe| roles::is_dm(recipe)) {
            for other in roles::counterparts(sweep, init) {
                ways.extend(standard(sweep).map(|by| Way { first: (init, recipe), against: vec![(other, by)] }));
            }
        }
    }
    ways
}

/// Sources of low frequencies, held against those of high ones.
fn bands(sweep: &Sweep) -> Vec<Way<'_>> {
    let pairs = roles::low_and_high(sweep).into_iter();
    pairs
        .flat_map(|[low, high]| trained(sweep).map(move |by| Way { first: (low, by), against: vec![(high, by)] }))
        .collect()
}

/// Data set, model, init, recipe, attack and ε, by name.
type Key<'a> = [&'a str; 6];

/// Every data set with every model.
pub(super) fn models(sweep: &Sweep) -> Vec<[&str; 2]> {
    let of = |dataset| sweep.models.iter().map(move |model| [dataset, model.name.as_str()]);
    sweep.datasets.iter().flat_map(|dataset| of(dataset.name.as_str())).collect()
}

/// The evaluations of a sweep, found by name.
struct Rows<'a> {
    sweep: &'a Sweep,
    by_name: BTreeMap<Key<'a>, BTreeMap<u64, &'a Evaluation>>,
}

impl<'a> Rows<'a> {
    fn new(sweep: &'a Sweep, evaluations: &'a [Evaluation]) -> Self {
        let mut by_name: BTreeMap<Key<'a>, BTreeMap<u64, &'a Evaluation>> = BTreeMap::new();
        for evaluation in evaluations {
            let row = &evaluation.row;
            let key = [&row.dataset, &row.backbone, &row.init, &row.recipe, &row.attack, &row.eps].map(String::as_str);
            by_name.entry(key).or_default().insert(row.seed, evaluation);
        }
        Self { sweep, by_name }
    }

    fn cell(&self, first: &Key<'_>, second: &Key<'_>) -> Option<Cell<'a>> {
        let (first, second) = (self.by_name.get(first)?, self.by_name.get(second)?);
        let pairs: Vec<Pair<'a>> =
            first.iter().filter_map(|(seed, first)| Some(Pair { first, second: second.get(seed)? })).collect();
        (!pairs.is_empty()).then_some(Cell { pairs })
    }

    /// Every radius of every attack that says something about robustness, on every data set and model.
    fn threats(&self) -> impl Iterator<Item = [&'a str; 4]> {
        let attacks = self.sweep.attacks.iter().filter(|attack| attack.method.knowledge() != Knowledge::Nothing);
        let radii: Vec<_> =
            attacks.flat_map(|attack| attack.eps.iter().map(|eps| (attack.name.as_str(), eps.text()))).collect();
        models(self.sweep).into_iter().flat_map(move |[dataset, model]| {
            radii.clone().into_iter().map(move |(attack, eps)| [dataset, model, attack, eps])
        })
    }

    /// A cell for every way under every threat.
    fn of(&self, ways: &[Way<'_>]) -> Vec<Cell<'a>> {
        let threats = self.threats();
        threats.flat_map(|threat| ways.iter().filter_map(move |way| self.way(way, threat))).collect()
    }

    fn way(&self, way: &Way<'_>, [dataset, model, attack, eps]: [&str; 4]) -> Option<Cell<'a>> {
        fn key<'k>(arm: &Arm<'k>, [dataset, model, attack, eps]: [&'k str; 4]) -> Key<'k> {
            [dataset, model, &arm.0.name, &arm.1.name, attack, eps]
        }
        let threat = [dataset, model, attack, eps];
        way.against.iter().find_map(|against| self.cell(&key(&way.first, threat), &key(against, threat)))
    }

    /// One cell for every way, data set and model, of the attack that evaluated most seeds and then most examples: what comes before an attack does not
    /// depend on it.
    fn once_per_model(&self, ways: &[Way<'_>]) -> Vec<Cell<'a>> {
        let mut cells = Vec::new();
        for [dataset, model] in models(self.sweep) {
            let threats: Vec<_> = self.threats().filter(|threat| threat[..2] == [dataset, model]).collect();
            for way in ways {
                let candidates = threats.iter().rev().filter_map(|threat| self.way(way, *threat));
                cells.extend(candidates.max_by_key(|cell| (cell.pairs.len(), cell.examples())));
            }
        }
        cells
    }

    /// Models of a source with a planted cue beside those of sources without, under attacks that can undo the cue.
    fn cue(&self) -> Vec<Cell<'a>> {
        let sweep = self.sweep;
        let mut cells = Vec::new();
        for cued in roles::cued(sweep) {
            let against =
                |by| cued.controls.iter().map(move |other| Way { first: (cued.init, by), against: vec![(*other, by)] });
            let ways: Vec<Way<'_>> = trained(sweep).flat_map(against).collect();
            cells.extend(self.of(&ways).into_iter().filter(|cell| cell.reaches_beyond(cued.amplitude)));
        }
        cells
    }

    /// A cell for every run's noise beside each gradient attack of the same norm and ε.
    fn noise(&self) -> Vec<Cell<'a>> {
        let attacks = &self.sweep.attacks;
        let beside = |noise: &'a AttackSection, other: &'a AttackSection| {
            let radii = noise.eps.iter().flat_map(|eps| other.eps.iter().map(move |other| (eps, other)));
            let same = radii.filter(|(eps, at)| eps.value() == at.value() && noise.norm == other.norm);
            same.map(|(eps, at)| [(noise.name.as_str(), eps.text()), (other.name.as_str(), at.text())])
                .collect::<Vec<_>>()
        };
        let pairs: Vec<[(&str, &str); 2]> = (attacks.iter().filter(|attack| roles::is_noise(attack)))
            .flat_map(|noise| {
                (attacks.iter().filter(|attack| roles::follows_gradients(attack))).map(move |other| (noise, other))
            })
            .flat_map(|(noise, other)| beside(noise, other))
            .collect();
        let mut cells = Vec::new();
        for [dataset, model] in models(self.sweep) {
            for init in &self.sweep.inits {
                for recipe in &self.sweep.recipes {
                    let key = |(attack, eps)| [dataset, model, init.name.as_str(), recipe.name.as_str(), attack, eps];
                    cells.extend(pairs.iter().filter_map(|[noise, other]| self.cell(&key(*noise), &key(*other))));
                }
            }
        }
        cells
    }
}
