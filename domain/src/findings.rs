//! What a sweep says about the study's first claim: is the fine-tuned model more accurate and less robust than the standard one?
//!
//! Computed from the rows alone; it can come out either way.

use serde::Serialize;

use crate::experiment::Knowledge;
use crate::results::ResultRow;
use crate::sweep::{InitStart, RecipeRef, RecipeSection, Sweep};

/// What was found for one data set and model under one attack.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// Name of the data set.
    pub dataset: String,
    /// Name of the model.
    pub backbone: String,
    /// Name of the attack.
    pub attack: String,
    /// Its norm.
    pub norm: String,
    /// Examples per seed; the fewest, where evaluations stopped early.
    pub examples: u32,
    /// The most examples of an evaluation.
    pub most_examples: u32,
    /// The init of the fine-tuned model; the recipe is the same as the standard model's.
    pub fine_tuned: String,
    /// The init of the standard model.
    pub standard: String,
    /// AOI of the fine-tuned model against the standard one.
    pub aoi: Comparison,
    /// AAI of the same at each ε, in the order of the sweep.
    pub aai: Vec<AtEpsilon>,
    /// Every other way of training from a pre-trained model, at the ε where the fine-tuned model lost most.
    pub remedies: Vec<Remedy>,
}

/// Two means over the same seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Mean of the fine-tuned model.
    pub fine_tuned: f64,
    /// Mean of the standard model.
    pub standard: f64,
    /// Seeds in which both were measured.
    pub seeds: usize,
    /// Seeds in which the fine-tuned model was above.
    pub above: usize,
    /// Seeds in which it was below.
    pub below: usize,
}

/// A comparison at one radius.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AtEpsilon {
    /// The radius, as written.
    pub eps: String,
    /// AAI.
    pub aai: Comparison,
}

/// Another way of training.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Remedy {
    /// Name of its init.
    pub init: String,
    /// Name of its recipe.
    pub recipe: String,
    /// Mean AOI.
    pub aoi: f64,
    /// Mean AAI at the ε where the fine-tuned model lost most.
    pub aai: f64,
}

impl Comparison {
    fn of(pairs: &[(f64, f64)]) -> Option<Self> {
        if pairs.is_empty() {
            return None;
        }
        let mean = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / pairs.len() as f64;
        Some(Self {
            fine_tuned: mean(|pair| pair.0),
            standard: mean(|pair| pair.1),
            seeds: pairs.len(),
            above: pairs.iter().filter(|(fine_tuned, standard)| fine_tuned > standard).count(),
            below: pairs.iter().filter(|(fine_tuned, standard)| fine_tuned < standard).count(),
        })
    }

    /// Fine-tuned minus standard.
    pub fn difference(&self) -> f64 {
        self.fine_tuned - self.standard
    }
}

/// Finds, for each data set, model and gradient attack of the sweep, what standard pre-training did to the models fine-tuned from it.
pub fn findings(sweep: &Sweep, rows: &[ResultRow]) -> Vec<Finding> {
    let mut found = Vec::new();
    for dataset in &sweep.datasets {
        for model in &sweep.models {
            for attack in sweep.attacks.iter().filter(|attack| attack.method.knowledge() != Knowledge::Nothing) {
                let of_attack = |row: &&ResultRow| {
                    // Without an ε almost everything is fooled somewhere, which says nothing.
                    let has_eps = !row.eps.is_empty();
                    has_eps && row.dataset == dataset.name && row.backbone == model.name && row.attack == attack.name
                };
                let rows: Vec<&ResultRow> = rows.iter().filter(of_attack).collect();
                found.extend(finding(sweep, &rows));
            }
        }
    }
    found
}

fn finding(sweep: &Sweep, rows: &[&ResultRow]) -> Option<Finding> {
    let scratch = sweep.inits.iter().find(|init| matches!(init.start, InitStart::Scratch))?;
    let pretrained = sweep.inits.iter().find(|init| is_standard_pretraining(sweep, &init.start))?;
    let recipe = sweep.recipes.iter().find(|recipe| is_standard(recipe))?;
    let first = rows.first()?;
    let mut radii: Vec<&str> = Vec::new();
    for row in rows {
        if !radii.contains(&row.eps.as_str()) {
            radii.push(&row.eps);
        }
    }
    let pairs = |eps: &str, of: fn(&ResultRow) -> f64| {
        let at = |init: &str, seed: u64| {
            rows.iter()
                .find(|row| row.eps == eps && row.recipe == recipe.name && row.init == init && row.seed == seed)
                .map(|row| of(row))
        };
        sweep
            .seeds
            .iter()
            .filter_map(|seed| Some((at(&pretrained.name, *seed)?, at(&scratch.name, *seed)?)))
            .collect::<Vec<_>>()
    };
    let aoi = Comparison::of(&pairs(radii.first()?, |row| row.aoi))?;
    let aai: Vec<AtEpsilon> = radii
        .iter()
        .filter_map(|eps| Some(AtEpsilon { eps: (*eps).to_owned(), aai: Comparison::of(&pairs(eps, |row| row.aai))? }))
        .collect();
    let worst = worst(&aai)?.eps.clone();
    Some(Finding {
        dataset: first.dataset.clone(),
        backbone: first.backbone.clone(),
        attack: first.attack.clone(),
        norm: first.norm.clone(),
        examples: rows.iter().map(|row| row.examples).min()?,
        most_examples: rows.iter().map(|row| row.examples).max()?,
        remedies: remedies(rows, &worst, &[(&scratch.name, None), (&pretrained.name, Some(&recipe.name))]),
        fine_tuned: pretrained.name.clone(),
        standard: scratch.name.clone(),
        aoi,
        aai,
    })
}

fn worst(aai: &[AtEpsilon]) -> Option<&AtEpsilon> {
    aai.iter().min_by(|a, b| a.aai.difference().total_cmp(&b.aai.difference()))
}

fn remedies(rows: &[&ResultRow], eps: &str, without: &[(&str, Option<&str>)]) -> Vec<Remedy> {
    let mut ways: Vec<(&str, &str)> = Vec::new();
    for row in rows {
        let way = (row.init.as_str(), row.recipe.as_str());
        let left_out =
            without.iter().any(|(init, recipe)| *init == way.0 && recipe.is_none_or(|recipe| recipe == way.1));
        if !left_out && !ways.contains(&way) {
            ways.push(way);
        }
    }
    let remedy = |(init, recipe): (&str, &str)| {
        let of: Vec<_> = rows
            .iter()
            .filter(|row| (row.init.as_str(), row.recipe.as_str(), row.eps.as_str()) == (init, recipe, eps))
            .collect();
        let mean = |value: fn(&ResultRow) -> f64| of.iter().map(|row| value(row)).sum::<f64>() / of.len() as f64;
        (!of.is_empty()).then(|| Remedy {
            init: init.to_owned(),
            recipe: recipe.to_owned(),
            aoi: mean(|row| row.aoi),
            aai: mean(|row| row.aai),
        })
    };
    ways.into_iter().filter_map(remedy).collect()
}

/// Whether a recipe is ordinary training of the whole model: that of a standard model.
pub(crate) fn is_standard(recipe: &RecipeSection) -> bool {
    recipe.freeze.is_none() && recipe.training.as_ref().is_some_and(|training| training.method() == "standard")
}

fn is_standard_pretraining(sweep: &Sweep, start: &InitStart) -> bool {
    let InitStart::Pretrain(stage) = start else { return false };
    let recipe = match &stage.recipe.value {
        RecipeRef::Section(index) => sweep.recipes.get(*index),
        RecipeRef::Own(recipe) => Some(recipe.as_ref()),
    };
    stage.init.is_none() && recipe.is_some_and(is_standard)
}

impl Finding {
    fn examples_in_words(&self) -> String {
        match (self.examples, self.most_examples) {
            (fewest, most) if fewest < most => format!("{fewest} to {most}"),
            (all, _) => all.to_string(),
        }
    }

    /// The finding in a sentence, with every number's attack, ε, examples and seeds.
    pub fn sentence(&self) -> String {
        let Some(worst) = worst(&self.aai) else { return String::new() };
        let lower = self.aai.iter().filter(|at| at.aai.difference() < 0.0).count();
        let verdict = match (self.aoi.difference() > 0.0, lower > 0) {
            (true, true) => "pre-training raised accuracy and transferred non-robustness",
            (false, true) => "pre-training transferred non-robustness, without raising accuracy",
            (true, false) => "pre-training raised accuracy and did not transfer non-robustness",
            (false, false) => "pre-training neither raised accuracy nor transferred non-robustness",
        };
        let mut text = format!(
            "{}, {}, {} seeds × {} examples, {} ({}): fine-tuned from {} against {}, AOI is {} and AAI is lower at {lower} of {} ε (at {}: {}): {verdict}.",
            self.dataset,
            self.backbone,
            self.aoi.seeds,
            self.examples_in_words(),
            self.attack,
            self.norm,
            self.fine_tuned,
            self.standard,
            against(&self.aoi),
            self.aai.len(),
            worst.eps,
            against(&worst.aai),
        );
        if !self.remedies.is_empty() {
            let list: Vec<String> = self
                .remedies
                .iter()
                .map(|way| format!("{} + {} {} (AOI {})", way.init, way.recipe, percent(way.aai), percent(way.aoi)))
                .collect();
            text.push_str(&format!(" AAI at {} of the other ways: {}.", worst.eps, list.join(", ")));
        }
        text
    }
}

fn against(comparison: &Comparison) -> String {
    let sign = if comparison.difference() < 0.0 { comparison.below } else { comparison.above };
    format!(
        "{} against {}, {:+.1} points, that way in {sign} of {} seeds",
        percent(comparison.fine_tuned),
        percent(comparison.standard),
        100.0 * comparison.difference(),
        comparison.seeds,
    )
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::row;
    use crate::sweep::parse;

    const SWEEP: &str = r#"
name = "s"
seeds = [0, 1]
[[dataset]]
name = "glyphs"
[[model]]
backbone = "resnet18-w16"
[[init]]
name = "scratch"
[[init]]
name = "pretrained"
pretrain = { dataset = "fashion-mnist", recipe = "standard" }
[[recipe]]
name = "standard"
method = "standard"
[[recipe]]
name = "dm"
method = "dm"
[[attack]]
name = "pgd10"
method = "pgd"
eps = ["2/255", "4/255"]
[[attack]]
name = "noise"
method = "noise"
eps = "4/255"
"#;

    fn rows(fine_tuned: [u32; 4], remedy: u32) -> Vec<ResultRow> {
        let mut rows = Vec::new();
        for (seed, at) in [0, 1].into_iter().zip(fine_tuned.chunks(2)) {
            rows.push(row("scratch", "standard", seed, "2/255", 80, 60));
            rows.push(row("scratch", "standard", seed, "4/255", 80, 50));
            rows.push(row("pretrained", "standard", seed, "2/255", 84, at[0]));
            rows.push(row("pretrained", "standard", seed, "4/255", 84, at[1]));
            rows.push(row("pretrained", "dm", seed, "4/255", 78, remedy));
        }
        rows
    }

    #[test]
    fn a_fine_tuned_model_that_falls_earlier_is_said_to_have_inherited_it() {
        let found = findings(&parse(SWEEP).unwrap(), &rows([58, 20, 61, 30], 70));
        insta::assert_snapshot!(found[0].sentence(), @"glyphs, resnet18-w16, 2 seeds × 100 examples, pgd10 (linf): fine-tuned from pretrained against scratch, AOI is 84.0 % against 80.0 %, +4.0 points, that way in 2 of 2 seeds and AAI is lower at 2 of 2 ε (at 4/255: 25.0 % against 50.0 %, -25.0 points, that way in 2 of 2 seeds): pre-training raised accuracy and transferred non-robustness. AAI at 4/255 of the other ways: pretrained + dm 70.0 % (AOI 78.0 %).");
    }

    #[test]
    fn where_evaluations_stopped_early_the_sentence_says_from_how_many_examples_to_how_many() {
        let mut rows = rows([58, 20, 61, 30], 70);
        rows[1].examples = 64;
        let said = findings(&parse(SWEEP).unwrap(), &rows)[0].sentence();
        assert!(said.contains("2 seeds × 64 to 100 examples"), "{said}");
    }

    #[test]
    fn it_can_come_out_against_the_study() {
        let found = findings(&parse(SWEEP).unwrap(), &rows([65, 55, 61, 52], 70));
        assert!(
            found[0].sentence().contains("raised accuracy and did not transfer non-robustness"),
            "{}",
            found[0].sentence()
        );
        assert_eq!(found.len(), 1, "noise proves nothing");
    }
}
