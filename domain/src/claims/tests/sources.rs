//! Sources that differ in a cue, frequencies or classes.

use super::*;

/// Sources with and without a planted cue, and of low and high frequencies.
const SOURCES: &str = r#"
name = "s"
seeds = [0, 1, 2]
[[dataset]]
name = "glyphs"
[[model]]
backbone = "resnet18-w16"
[[init]]
name = "cue"
pretrain = { dataset = { name = "glyphs", cue = { amplitude = "2/255" } }, recipe = "standard" }
[[init]]
name = "shuffled"
pretrain = { dataset = { name = "glyphs", cue = { amplitude = "2/255", pairing = "shuffled" } }, recipe = "standard" }
[[init]]
name = "other-letters"
pretrain = { dataset = { name = "glyphs", keep_classes = 6 }, recipe = "standard" }
[[init]]
name = "robust"
pretrain = { dataset = { name = "glyphs", cue = { amplitude = "2/255" } }, recipe = { method = "pgd-at", inner = { eps = "8/255" } } }
[[init]]
name = "low"
pretrain = { dataset = { name = "fashion-mnist", frequencies = { keep = "low", radius = 4 } }, recipe = "standard" }
[[init]]
name = "high"
pretrain = { dataset = { name = "fashion-mnist", frequencies = { keep = "high", radius = 4 } }, recipe = "standard" }
[[init]]
name = "higher"
pretrain = { dataset = { name = "fashion-mnist", frequencies = { keep = "high", radius = 8 } }, recipe = "standard" }
[[recipe]]
name = "standard"
method = "standard"
[[attack]]
name = "pgd10"
method = "pgd"
eps = ["1/255", "4/255"]
"#;

fn of_sources(id: &str, evaluations: &[Evaluation]) -> Claim {
    claims(&parse(SOURCES).unwrap(), evaluations, &[]).into_iter().find(|claim| claim.id == id).unwrap()
}

fn every_source() -> Vec<Evaluation> {
    let mut rows = Vec::new();
    for seed in 0..3 {
        for (init, robust) in [
            ("cue", 20),
            ("shuffled", 60),
            ("other-letters", 70),
            ("robust", 75),
            ("low", 70),
            ("high", 30),
            ("higher", 10),
        ] {
            for eps in ["1/255", "4/255"] {
                rows.push(counted(row(init, "standard", seed, eps, 80, robust + seed as u32)));
            }
        }
    }
    rows
}

#[test]
fn a_planted_cue_is_looked_for_beyond_its_amplitude_alone() {
    let found = of_sources("C2", &every_source());
    assert_eq!((found.verdict, found.comparisons.len()), (Verdict::Holds, 1));
    let only = &found.comparisons[0];
    assert_eq!((only.first.init.as_str(), only.second.init.as_str(), only.eps.as_str()), ("cue", "shuffled", "4/255"));
}

#[test]
fn a_robust_source_is_held_against_the_same_images_with_the_same_cue() {
    let found = of_sources("P7a", &every_source());
    assert!(
        found.comparisons.iter().all(|pair| (pair.first.init.as_str(), pair.second.init.as_str()) == ("robust", "cue"))
    );
    assert_eq!((found.verdict, found.comparisons.len()), (Verdict::Holds, 2));
}

#[test]
fn low_frequencies_are_held_against_high_ones_of_the_same_radius() {
    let found = of_sources("P5", &every_source());
    assert_eq!((found.verdict, found.comparisons.len()), (Verdict::Holds, 2));
    assert!(
        found.comparisons.iter().all(|pair| (pair.first.init.as_str(), pair.second.init.as_str()) == ("low", "high"))
    );
}
