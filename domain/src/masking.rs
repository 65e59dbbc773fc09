//! What speaks for masked gradients (Athalye et al. 2018, arXiv 1802.00420; Carlini et al. 2019, arXiv 1902.06705): a robust accuracy that an attack
//! owes to gradients which lead nowhere.
//!
//! The rules stand in the database's view `masking_warnings`, where the outcomes of two evaluations can be compared example by example; here are
//! its rows and their words.

use serde::{Deserialize, Serialize};

/// A sign of masked gradients. The fields are the columns of the view `masking_warnings`, in their order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MaskingWarning {
    /// Identity of the sweep.
    pub sweep: String,
    /// Name of the data set.
    pub dataset: String,
    /// Name of the model.
    pub backbone: String,
    /// Name of the init.
    pub init: String,
    /// Name of the recipe.
    pub recipe: String,
    /// Seed of the run.
    pub seed: u64,
    /// What was seen.
    pub kind: MaskingSign,
    /// The attack whose result is in doubt.
    pub attack: String,
    /// Its norm.
    pub norm: String,
    /// Its radius, as written.
    pub eps: String,
    /// The attack that puts it in doubt; none where it does so itself.
    pub other_attack: Option<String>,
    /// Its radius, as written.
    pub other_eps: Option<String>,
    /// Examples evaluated.
    pub examples: u32,
    /// Of these, right before any attack.
    pub attacked: u32,
    /// Examples that fall to the other attack and not to this one.
    pub fooled_by_other_alone: Option<u64>,
    /// Examples that fall to this attack and not to the other one.
    pub fooled_by_attack_alone: Option<u64>,
    /// Of these two counts, by the two-sided exact McNemar test.
    pub p_value: Option<f64>,
    /// Attacked examples whose first gradient was zero everywhere.
    pub zero_gradient_examples: Option<u64>,
}

/// What was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MaskingSign {
    /// The same attack fools more examples in a smaller ball.
    StrongerAtSmallerEps,
    /// Random points of the ball fool more examples than an attack that sees the gradients.
    NoiseBeatsGradients,
    /// An attack that sees outputs alone fools more examples than every one that sees the gradients.
    BlackBoxBeatsWhiteBox,
    /// The same method fools more examples when it has to lead to a certain class.
    TargetBeatsNoTarget,
    /// The first gradient was zero everywhere for more than 5 % of the attacked examples.
    ZeroGradients,
}

impl MaskingSign {
    /// All signs.
    pub const ALL: [Self; 5] = [
        Self::StrongerAtSmallerEps,
        Self::NoiseBeatsGradients,
        Self::BlackBoxBeatsWhiteBox,
        Self::TargetBeatsNoTarget,
        Self::ZeroGradients,
    ];

    /// The name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::StrongerAtSmallerEps => "stronger-at-smaller-eps",
            Self::NoiseBeatsGradients => "noise-beats-gradients",
            Self::BlackBoxBeatsWhiteBox => "black-box-beats-white-box",
            Self::TargetBeatsNoTarget => "target-beats-no-target",
            Self::ZeroGradients => "zero-gradients",
        }
    }

    /// The sign of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|sign| sign.name() == name)
    }

    const fn words(self) -> &'static str {
        match self {
            Self::StrongerAtSmallerEps => "fools more in the smaller ball of",
            Self::NoiseBeatsGradients => "is beaten by the random points of",
            Self::BlackBoxBeatsWhiteBox => "is beaten, as every attack by gradients here, by the black-box attack",
            Self::TargetBeatsNoTarget => "is beaten by itself with a target:",
            Self::ZeroGradients => "meets zero gradients",
        }
    }
}

impl MaskingWarning {
    /// The warning in a sentence, with its numbers.
    pub fn sentence(&self) -> String {
        let run =
            format!("{} · {} · {} · {} · seed {}", self.dataset, self.backbone, self.init, self.recipe, self.seed);
        let at = |attack: &str, eps: &str| {
            let radius = if eps.is_empty() { String::new() } else { format!(" {eps}") };
            format!("{attack}{radius} ({})", self.norm)
        };
        let attack = at(&self.attack, &self.eps);
        let words = self.kind.words();
        let evidence = match (&self.other_attack, self.zero_gradient_examples) {
            (Some(other), _) => {
                let count = |count: Option<u64>| count.unwrap_or_default();
                format!(
                    "{words} {}: {} examples fall to the latter alone, {} to the former alone (p = {:.1e}, {} examples)",
                    at(other, self.other_eps.as_deref().unwrap_or_default()),
                    count(self.fooled_by_other_alone),
                    count(self.fooled_by_attack_alone),
                    self.p_value.unwrap_or(1.0),
                    self.examples,
                )
            }
            (None, zero) => format!("{words} on {} of {} attacked examples", zero.unwrap_or_default(), self.attacked),
        };
        format!("{run}: {attack} {evidence}: its gradients may be masked")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warning(kind: MaskingSign) -> MaskingWarning {
        MaskingWarning {
            sweep: "s-00000000".into(),
            dataset: "glyphs".into(),
            backbone: "resnet18-w16".into(),
            init: "scratch".into(),
            recipe: "dm".into(),
            seed: 1,
            kind,
            attack: "pgd10".into(),
            norm: "linf".into(),
            eps: "8/255".into(),
            other_attack: Some("square".into()),
            other_eps: Some("8/255".into()),
            examples: 500,
            attacked: 400,
            fooled_by_other_alone: Some(40),
            fooled_by_attack_alone: Some(3),
            p_value: Some(2.3e-9),
            zero_gradient_examples: None,
        }
    }

    #[test]
    fn a_warning_says_run_attacks_and_counts() {
        insta::assert_snapshot!(warning(MaskingSign::BlackBoxBeatsWhiteBox).sentence(), @"glyphs · resnet18-w16 · scratch · dm · seed 1: pgd10 8/255 (linf) is beaten, as every attack by gradients here, by the black-box attack square 8/255 (linf): 40 examples fall to the latter alone, 3 to the former alone (p = 2.3e-9, 500 examples): its gradients may be masked");
        let alone = MaskingWarning {
            other_attack: None,
            zero_gradient_examples: Some(77),
            ..warning(MaskingSign::ZeroGradients)
        };
        insta::assert_snapshot!(alone.sentence(), @"glyphs · resnet18-w16 · scratch · dm · seed 1: pgd10 8/255 (linf) meets zero gradients on 77 of 400 attacked examples: its gradients may be masked");
    }

    #[test]
    fn signs_are_named_in_json_as_in_the_database() {
        for sign in MaskingSign::ALL {
            assert_eq!(serde_json::to_value(sign).unwrap(), sign.name());
            assert_eq!(MaskingSign::from_name(sign.name()), Some(sign));
        }
    }
}
