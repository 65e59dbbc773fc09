//! The runs of a sweep: the product of its axes, trimmed by rules.

use super::attack_section::AttackSection;
use super::place::Place;
use super::report::Report;
use super::sections::Sweep;
use super::words::{counted, grouped};

/// More cells in one sweep are taken for a mistake.
pub const MOST_CELLS: u64 = 1_000_000;
/// Every cell is held against every rule.
const MOST_RULES: usize = 1_000;

/// The runs that the rules leave.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Grid {
    /// In the order of the file: dataset, model, init, recipe, seed.
    pub runs: Vec<GridRun>,
}

/// A run, by the numbers of its sections, and the attacks it is evaluated under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GridRun {
    /// Number of the data set.
    pub dataset: usize,
    /// Number of the model.
    pub model: usize,
    /// Number of the init.
    pub init: usize,
    /// Number of the recipe.
    pub recipe: usize,
    /// The seed.
    pub seed: u64,
    /// Numbers of the attacks; at least one.
    pub attacks: Vec<usize>,
}

/// The rules of a sweep. A cell stays if no exclude matches it and, where there are includes, one of them does.
pub(super) struct Rules {
    pub(super) includes: Vec<Rule>,
    pub(super) excludes: Vec<Rule>,
}

/// A rule: it matches a cell whose place on every axis it names is among those it names.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rule {
    pub(super) at: Place,
    /// Per axis (dataset, model, init, recipe, seed, attack) sorted numbers; none for all.
    pub(super) axes: [Option<Vec<usize>>; 6],
}

impl Rule {
    /// Whether a run lies where the rule says, attacks aside.
    pub(super) fn meets(&self, run: &GridRun, sweep: &Sweep) -> bool {
        let seed = sweep.seeds.iter().position(|seed| *seed == run.seed);
        let numbers = [Some(run.dataset), Some(run.model), Some(run.init), Some(run.recipe), seed];
        numbers.into_iter().enumerate().all(|(axis, number)| number.is_some_and(|number| self.allows(axis, number)))
    }

    fn allows(&self, axis: usize, number: usize) -> bool {
        self.axes[axis].as_ref().is_none_or(|numbers| numbers.binary_search(&number).is_ok())
    }
}

const SEED_AXIS: usize = 4;
const ATTACK_AXIS: usize = 5;

/// The grid of a sweep; none, and a mistake, if it is too large or the rules leave nothing.
pub(super) fn build(sweep: &Sweep, rules: &Rules, report: &Report) -> Option<Grid> {
    let lengths = axis_lengths(sweep);
    refuse_too_many(sweep, &lengths, rules, report)?;
    let lengths = lengths.map(|(_, length)| length);
    let mut builder = Builder { sweep, rules, lengths, effective: [vec![], vec![]], runs: Vec::new() };
    builder.effective = [vec![false; rules.includes.len()], vec![false; rules.excludes.len()]];
    let all = [(0..rules.includes.len()).collect(), (0..rules.excludes.len()).collect()];
    builder.descend(&mut Vec::new(), &all);
    let Builder { effective: [includes, excludes], runs, .. } = builder;
    let ineffective = |rules: &[Rule], effective: &[bool], message: &str| {
        rules
            .iter()
            .zip(effective)
            .filter(|(_, effective)| !**effective)
            .for_each(|(rule, _)| report.mistake(&rule.at, message));
    };
    ineffective(&rules.includes, &includes, "this rule keeps no cell: [[exclude]] rules drop all it matches");
    ineffective(&rules.excludes, &excludes, "this rule drops no cell: the [[include]] rules keep none that it matches");
    if runs.is_empty() {
        let at = rules.excludes.first().or(rules.includes.first()).map(|rule| rule.at.clone()).unwrap_or_default();
        report.mistake(&at, "the rules leave nothing of the grid");
        return None;
    }
    Some(Grid { runs })
}

fn axis_lengths(sweep: &Sweep) -> [(&'static str, usize); 6] {
    [
        ("data set", sweep.datasets.len()),
        ("model", sweep.models.len()),
        ("init", sweep.inits.len()),
        ("recipe", sweep.recipes.len()),
        ("seed", sweep.seeds.len()),
        ("attack", sweep.attacks.len()),
    ]
}

fn refuse_too_many(sweep: &Sweep, lengths: &[(&str, usize); 6], rules: &Rules, report: &Report) -> Option<()> {
    if let Some(rule) = rules.excludes.iter().chain(&rules.includes).nth(MOST_RULES) {
        report.mistake(&rule.at, format!("there are more than {MOST_RULES} rules"));
        return None;
    }
    let radii: usize = sweep.attacks.iter().map(AttackSection::rows).sum();
    let runs = lengths[..ATTACK_AXIS].iter().map(|(_, length)| *length as u128);
    // Beyond u128 the count is wrong, and too large all the same.
    let cells = runs.fold(radii as u128, u128::saturating_mul);
    if cells <= u128::from(MOST_CELLS) {
        return Some(());
    }
    let axes: Vec<String> =
        lengths[..ATTACK_AXIS].iter().map(|(what, length)| counted(*length as u128, what)).collect();
    let message = format!(
        "the grid has {} cells: {} × {} (each radius counted); at most {} are allowed",
        grouped(cells),
        axes.join(" × "),
        counted(radii as u128, "attack"),
        grouped(MOST_CELLS),
    );
    report.mistake_with_help(
        &Place::default(),
        message,
        "split the sweep; tasks that sweeps share are done once anyway",
    );
    None
}

struct Builder<'a> {
    sweep: &'a Sweep,
    rules: &'a Rules,
    lengths: [usize; 6],
    /// Which includes keep a cell, which excludes drop one.
    effective: [Vec<bool>; 2],
    runs: Vec<GridRun>,
}

impl Builder<'_> {
    /// Walks the axes below `numbers` with the numbers of the includes and excludes that still match.
    fn descend(&mut self, numbers: &mut Vec<usize>, matching: &[Vec<usize>; 2]) {
        let axis = numbers.len();
        if axis == ATTACK_AXIS {
            return self.run(numbers, matching);
        }
        for number in 0..self.lengths[axis] {
            let rules = [&self.rules.includes, &self.rules.excludes];
            let narrowed = [0, 1].map(|kind| {
                matching[kind]
                    .iter()
                    .copied()
                    .filter(|&rule| rules[kind][rule].allows(axis, number))
                    .collect::<Vec<_>>()
            });
            numbers.push(number);
            self.descend(numbers, &narrowed);
            numbers.pop();
        }
    }

    fn run(&mut self, numbers: &[usize], [includes, excludes]: &[Vec<usize>; 2]) {
        let attacks: Vec<usize> =
            (0..self.lengths[ATTACK_AXIS]).filter(|&attack| self.keeps(attack, includes, excludes)).collect();
        if let (false, &[dataset, model, init, recipe, _]) = (attacks.is_empty(), numbers) {
            let seed = self.sweep.seeds[numbers[SEED_AXIS]];
            self.runs.push(GridRun { dataset, model, init, recipe, seed, attacks });
        }
    }

    fn keeps(&mut self, attack: usize, includes: &[usize], excludes: &[usize]) -> bool {
        let matches = |rules: &[Rule], rule: usize| rules[rule].allows(ATTACK_AXIS, attack);
        let included =
            self.rules.includes.is_empty() || includes.iter().any(|&rule| matches(&self.rules.includes, rule));
        let excluded = excludes.iter().any(|&rule| matches(&self.rules.excludes, rule));
        if included {
            excludes
                .iter()
                .filter(|&&rule| matches(&self.rules.excludes, rule))
                .for_each(|&rule| self.effective[1][rule] = true);
        }
        if !excluded {
            includes
                .iter()
                .filter(|&&rule| matches(&self.rules.includes, rule))
                .for_each(|&rule| self.effective[0][rule] = true);
        }
        included && !excluded
    }
}
