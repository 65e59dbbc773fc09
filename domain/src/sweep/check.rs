//! What spans several sections and needs no file.

use std::collections::HashSet;

use super::attack_section::AttackTemplate;
use super::grid::GridRun;
use super::report::Report;
use super::sections::{DatasetRef, DatasetSection, FolderFiles, InitStart, Origin, Pretrain, Sweep};
use super::usage::{Usage, crafts};

/// Longer chains of pre-trainings are taken for a mistake.
const LONGEST_CHAIN: usize = 64;

/// Whether every chain of inits ends and every pre-training trains.
pub(super) fn inits_lead_somewhere(sweep: &Sweep, report: &Report) -> bool {
    let mut lengths = vec![None; sweep.inits.len()];
    for start in 0..sweep.inits.len() {
        follow(sweep, start, &mut lengths, report);
        if let Some(pretrain) = pretrain(sweep, start) {
            refuse_idle(sweep, pretrain, report);
        }
    }
    report.is_empty()
}

fn pretrain(sweep: &Sweep, init: usize) -> Option<&Pretrain> {
    match &sweep.inits[init].start {
        InitStart::Pretrain(pretrain) => Some(pretrain),
        InitStart::Scratch | InitStart::Checkpoint { .. } => None,
    }
}

/// Follows the chain from `start` to its end, or to an init whose chain has a length already, and says where it comes back to itself.
fn follow(sweep: &Sweep, start: usize, lengths: &mut [Option<usize>], report: &Report) {
    let mut chain = Vec::new();
    let mut on_chain = HashSet::new();
    let mut next = Some(start);
    while let Some(init) = next.filter(|&init| lengths[init].is_none()) {
        if !on_chain.insert(init) {
            say_circle(sweep, &chain, init, report);
            break;
        }
        chain.push(init);
        next = pretrain(sweep, init).and_then(|pretrain| pretrain.init);
    }
    let mut length = next.and_then(|init| lengths[init]).unwrap_or(0);
    for init in chain.into_iter().rev() {
        length += 1;
        lengths[init] = Some(length);
        if length == LONGEST_CHAIN + 1 {
            let message = format!("a chain of more than {LONGEST_CHAIN} pre-trainings leads to this init");
            report.mistake(&sweep.inits[init].at, message);
        }
    }
}

fn say_circle(sweep: &Sweep, chain: &[usize], back: usize, report: &Report) {
    const SHOWN: usize = 20;
    let from = chain.iter().position(|&init| init == back).unwrap_or_default();
    let names = chain[from..].iter().chain([&back]).map(|&init| sweep.inits[init].name.as_str());
    let circle = names.take(SHOWN).collect::<Vec<_>>().join(" → ");
    report.mistake(&sweep.inits[back].at, format!("inits start from each other in a circle: {circle}"));
}

fn refuse_idle(sweep: &Sweep, pretrain: &Pretrain, report: &Report) {
    if sweep.recipe_of(&pretrain.recipe.value).training.is_none() {
        let message = "a pre-training needs a recipe that trains, not `none`";
        report.mistake(&pretrain.recipe.at, message);
    }
}

/// Says which data sets lack a split that the grid needs.
pub(super) fn used_splits_exist(sweep: &Sweep, report: &Report) {
    let usage = Usage::of(sweep);
    for (section, splits) in sweep.datasets.iter().zip(&usage.datasets) {
        if splits.test && !has_test(section) {
            let message = format!("the data set `{}` has no `test` split to attack", section.name);
            report.mistake(&section.at, message);
        }
        if splits.train && !has_train(section) {
            say_train_is_missing(sweep, section, report);
        }
    }
    for pretrain in usage.pretrains(sweep) {
        if let DatasetRef::Own(section) = &pretrain.dataset.value
            && !has_train(section)
        {
            let message = format!("the data set `{}` has no `train` split to pre-train on", section.name);
            report.mistake(&pretrain.dataset.at, message);
        }
    }
}

fn say_train_is_missing(sweep: &Sweep, section: &DatasetSection, report: &Report) {
    let mut runs = sweep.grid.runs.iter().filter(|run| sweep.datasets[run.dataset].name == section.name);
    let trained = runs.clone().any(|run| sweep.recipes[run.recipe].training.is_some());
    let crafted = runs.find_map(|run| run.attacks.iter().map(|&number| &sweep.attacks[number]).find(|it| crafts(it)));
    // If no run needs it, a pre-training does.
    if trained || crafted.is_none() {
        let message = format!("the data set `{}` has no `train` split, and a recipe trains on it", section.name);
        let help = "give `train`, or evaluate the init as it is: method = \"none\"";
        report.mistake_with_help(&section.at, message, help);
    }
    if let Some(attack) = crafted {
        let message = format!(
            "the data set `{}` has no `train` split, and the attack `{}` crafts its perturbation there",
            section.name, attack.name
        );
        report.mistake_with_help(&attack.at, message, "give `train` to the data set");
    }
}

/// Says where an attack is to be crafted on the model of a run that the grid does not hold.
pub(super) fn sources_are_runs(sweep: &Sweep, report: &Report) {
    if !sweep.attacks.iter().any(|attack| matches!(attack.method, AttackTemplate::Transfer { .. })) {
        return;
    }
    let key = |run: &GridRun| (run.dataset, run.model, run.init, run.recipe, run.seed);
    let runs: HashSet<_> = sweep.grid.runs.iter().map(key).collect();
    let mut said = HashSet::new();
    for run in &sweep.grid.runs {
        for &number in &run.attacks {
            let AttackTemplate::Transfer { source, .. } = &sweep.attacks[number].method else { continue };
            let source_run = source.of(run);
            if !runs.contains(&key(&source_run)) && said.insert((number, key(&source_run))) {
                let message = format!(
                    "the grid has no run {}, on whose model this attack is crafted",
                    sweep.describe(&source_run)
                );
                let help = "let the rules keep that run, or drop this attack for the runs that need it";
                report.mistake_with_help(&source.at, message, help);
            }
        }
    }
}

const fn has_train(section: &DatasetSection) -> bool {
    match &section.origin {
        Origin::Idx { train, .. } => train.is_some(),
        Origin::SafeTensors { train, .. } => train.is_some(),
        Origin::Cifar { train, .. } => !train.is_empty(),
        Origin::Folder(FolderFiles::Splits { train, .. }) => train.is_some(),
        Origin::Folder(FolderFiles::HeldOut(_)) => true,
        Origin::Glyphs(_) => true,
    }
}

const fn has_test(section: &DatasetSection) -> bool {
    match &section.origin {
        Origin::Idx { test, .. } => test.is_some(),
        Origin::SafeTensors { test, .. } => test.is_some(),
        Origin::Cifar { test, .. } => !test.is_empty(),
        Origin::Folder(FolderFiles::Splits { test, .. }) => test.is_some(),
        Origin::Folder(FolderFiles::HeldOut(_)) => true,
        Origin::Glyphs(_) => true,
    }
}
