//! The evaluations of a sweep, found by name and held against each other.

use std::collections::BTreeMap;

use super::comparison::Cell;
use super::evaluation::{Evaluation, Pair};
use super::roles;
use super::ways::{Arm, Way, trained};
use crate::experiment::Knowledge;
use crate::sweep::{AttackSection, Sweep};

/// Data set, model, init, recipe, attack and ε, by name.
type Key<'a> = [&'a str; 6];

/// Every data set with every model.
pub(super) fn models(sweep: &Sweep) -> Vec<[&str; 2]> {
    let of = |dataset| sweep.models.iter().map(move |model| [dataset, model.name.as_str()]);
    sweep.datasets.iter().flat_map(|dataset| of(dataset.name.as_str())).collect()
}

/// The evaluations of a sweep, found by name.
pub(super) struct Rows<'a> {
    sweep: &'a Sweep,
    by_name: BTreeMap<Key<'a>, BTreeMap<u64, &'a Evaluation>>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(sweep: &'a Sweep, evaluations: &'a [Evaluation]) -> Self {
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

    /// Every radius of every attack that says something about robustness.
    pub(super) fn radii(&self) -> Vec<(&'a str, &'a str)> {
        let attacks = self.sweep.attacks.iter().filter(|attack| attack.method.knowledge() != Knowledge::Nothing);
        attacks.flat_map(|attack| attack.eps.iter().map(|eps| (attack.name.as_str(), eps.text()))).collect()
    }

    /// The same on every data set and model.
    fn threats(&self) -> impl Iterator<Item = [&'a str; 4]> {
        let radii = self.radii();
        models(self.sweep).into_iter().flat_map(move |[dataset, model]| {
            radii.clone().into_iter().map(move |(attack, eps)| [dataset, model, attack, eps])
        })
    }

    /// A cell for every way under every threat.
    pub(super) fn of(&self, ways: &[Way<'_>]) -> Vec<Cell<'a>> {
        let threats = self.threats();
        threats.flat_map(|threat| ways.iter().filter_map(move |way| self.way(way, threat))).collect()
    }

    fn way(&self, way: &Way<'_>, threat: [&str; 4]) -> Option<Cell<'a>> {
        way.against.iter().find_map(|against| self.held(&way.first, against, threat))
    }

    /// One arm beside another on a data set and model, under an attack at an ε.
    pub(super) fn held(&self, first: &Arm<'_>, second: &Arm<'_>, threat: [&str; 4]) -> Option<Cell<'a>> {
        fn key<'k>(arm: &Arm<'k>, [dataset, model, attack, eps]: [&'k str; 4]) -> Key<'k> {
            [dataset, model, &arm.0.name, &arm.1.name, attack, eps]
        }
        self.cell(&key(first, threat), &key(second, threat))
    }

    /// The cells of those twins whose recipe has a relative that was evaluated from the same init: one that differs in nothing but learning rates or
    /// what is frozen.
    pub(super) fn across_rates(&self, twins: &[Way<'_>]) -> Vec<Cell<'a>> {
        let evaluated = |(init, recipe): &Arm<'_>| {
            self.by_name.keys().any(|key| key[2..4] == [init.name.as_str(), recipe.name.as_str()])
        };
        let is_relative = |way: &Way<'_>, other: &Arm<'_>| {
            other.0.name == way.first.0.name && roles::differ_in_rates_or_freezing_alone(way.first.1, other.1)
        };
        let has_relative =
            |way: &&Way<'_>| twins.iter().any(|other| is_relative(way, &other.first) && evaluated(&other.first));
        self.of(&twins.iter().filter(has_relative).cloned().collect::<Vec<_>>())
    }

    /// One cell for every way, data set and model, of the attack that evaluated most seeds and then most examples: what comes before an attack does not
    /// depend on it.
    pub(super) fn once_per_model(&self, ways: &[Way<'_>]) -> Vec<Cell<'a>> {
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
    pub(super) fn cue(&self) -> Vec<Cell<'a>> {
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
    pub(super) fn noise(&self) -> Vec<Cell<'a>> {
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
