//! Whether larger networks lose more to pre-training: the difference of two differences.

use std::f64::consts::SQRT_2;

use super::comparison::{Basis, Cell, Comparison, Found, Outcome, Side};
use super::evaluation::{Evaluation, Measure, Pair};
use super::rows::Rows;
use super::ways::{Way, twins};
use crate::statistics::paired::over_seeds_within;
use crate::sweep::{ModelSection, PerChannel, Sweep};

/// One comparison for each data set, network beside the next smaller one, way of fine-tuning, attack and ε, where all four models were evaluated.
pub(super) fn compare(sweep: &Sweep, evaluations: &[Evaluation]) -> Found {
    let (rows, twins) = (Rows::new(sweep, evaluations), twins(sweep));
    let mut found = Found::default();
    for dataset in &sweep.datasets {
        for networks in larger_and_smaller(sweep) {
            for (attack, eps) in rows.radii() {
                for way in &twins {
                    let place = [dataset.name.as_str(), attack, eps];
                    match gaps(&rows, way, networks, place).map(|gaps| comparison(&gaps)) {
                        Some(Some(comparison)) => found.comparisons.push(comparison),
                        Some(None) => found.untested += 1,
                        None => {}
                    }
                }
            }
        }
    }
    found
}

/// Networks that differ in nothing but their layers, each with those of the next smaller size.
fn larger_and_smaller(sweep: &Sweep) -> Vec<[&ModelSection; 2]> {
    let size = |model: &ModelSection| model.backbone.parameters_before_the_head(model.stem, model.width);
    let images = |model: &ModelSection| -> (Option<u32>, [PerChannel; 2]) {
        let channels = model.channels.as_ref().map(|channels| channels.value);
        (channels, [model.mean.value.clone(), model.std.value.clone()])
    };
    let mut found = Vec::new();
    for larger in &sweep.models {
        let smaller = || sweep.models.iter().filter(|it| images(it) == images(larger) && size(it) < size(larger));
        let next = smaller().map(size).max();
        found.extend(smaller().filter(|model| Some(size(model)) == next).map(|model| [larger, model]));
    }
    found
}

/// A fine-tuned model and its standard twin of the larger network, and the same of the smaller one, of one seed.
type Gaps<'a> = [Pair<'a>; 2];

/// The seeds of which all four models were evaluated, with the first twin that has such; none without any.
fn gaps<'a>(
    rows: &Rows<'a>,
    way: &Way<'_>,
    networks: [&ModelSection; 2],
    [dataset, attack, eps]: [&str; 3],
) -> Option<Vec<Gaps<'a>>> {
    way.against.iter().find_map(|twin| {
        let of = |network: &ModelSection| rows.held(&way.first, twin, [dataset, &network.name, attack, eps]);
        let gaps = by_seed(of(networks[0])?, &of(networks[1])?);
        (!gaps.is_empty()).then_some(gaps)
    })
}

fn by_seed<'a>(larger: Cell<'a>, smaller: &Cell<'a>) -> Vec<Gaps<'a>> {
    let of_seed = |seed| smaller.pairs.iter().find(|pair| pair.first.row.seed == seed).copied();
    larger.pairs.into_iter().filter_map(|pair| Some([pair, of_seed(pair.first.row.seed)?])).collect()
}

/// The paired t test over the seeds; none for fewer than two.
fn comparison(gaps: &[Gaps<'_>]) -> Option<Comparison> {
    // Of each seed both gaps, and what one example changes in one of them, on the examples of all four models.
    let measured: Vec<(u64, [f64; 2], f64, u32)> = gaps
        .iter()
        .filter_map(|[larger, smaller]| {
            let examples = larger.examples().min(smaller.examples());
            let (of_larger, of_smaller) =
                (larger.measured_on(Measure::Aai, examples)?, smaller.measured_on(Measure::Aai, examples)?);
            let step = of_larger.step.max(of_smaller.step);
            Some((larger.first.row.seed, [of_larger.difference(), of_smaller.difference()], step, examples))
        })
        .collect();
    let differences: Vec<f64> = measured.iter().map(|(_, [larger, smaller], _, _)| larger - smaller).collect();
    // Four counts are rounded to whole examples here, in place of two.
    let step = SQRT_2 * measured.iter().map(|(_, _, step, _)| *step).fold(0.0, f64::max);
    let difference = over_seeds_within(&differences, step, 2.0)?;
    let mean = |side: usize| measured.iter().map(|(_, gaps, _, _)| gaps[side]).sum::<f64>() / measured.len() as f64;
    let [larger, smaller] = gaps.first()?;
    let row = &larger.first.row;
    Some(Comparison {
        dataset: row.dataset.clone(),
        norm: row.norm.clone(),
        eps: row.eps.clone(),
        first: Side::of(row),
        second: Side::of(&smaller.first.row),
        measure: Measure::AaiGap,
        basis: Basis::Seeds {
            seeds: measured.len(),
            examples: measured.iter().map(|(_, _, _, examples)| *examples).min()?,
        },
        shares: [mean(0), mean(1)],
        difference,
        by_seed: measured.iter().map(|(seed, ..)| *seed).zip(differences).collect(),
        adjusted_p_value: 1.0,
        outcome: Outcome::Undecided,
    })
}
