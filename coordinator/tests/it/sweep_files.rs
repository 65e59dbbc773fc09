//! Sweeps that need no files.

/// Examples of each evaluation.
pub const EXAMPLES: usize = 4;
/// Classes of the letters.
pub const CLASSES: u32 = 26;

const HEAD: &str = r#"
[[dataset]]
name = "glyphs"
train_examples = 26

[[model]]
backbone = "resnet18-w16"

[[recipe]]
name = "standard"
method = "standard"
epochs = 1
"#;

/// One training and one evaluation per seed and ε.
pub fn scratch(name: &str, seeds: &[u64], eps: &[&str]) -> String {
    scratch_under(name, seeds, &fgsm(eps))
}

/// One training per seed, under these `[[attack]]` sections.
pub fn scratch_under(name: &str, seeds: &[u64], attacks: &str) -> String {
    format!("name = \"{name}\"\nseeds = {seeds:?}\n{HEAD}\n[[init]]\nname = \"scratch\"\n{attacks}")
}

/// A pre-training, from it a training, and one evaluation per ε; per seed.
pub fn pretrained(name: &str, seeds: &[u64], eps: &[&str]) -> String {
    let init = "[[init]]\nname = \"pretrained\"\npretrain = { dataset = { name = \"glyphs\", glyph_seed = 7, train_examples = 26 }, recipe = \"standard\" }\n";
    format!("name = \"{name}\"\nseeds = {seeds:?}\n{HEAD}\n{init}{}", fgsm(eps))
}

/// A training from scratch and one from a pre-training.
pub fn both(name: &str, seeds: &[u64], eps: &[&str]) -> String {
    let scratch = "[[init]]\nname = \"scratch\"\n";
    pretrained(name, seeds, eps).replacen("[[init]]", &format!("{scratch}[[init]]"), 1)
}

fn fgsm(eps: &[&str]) -> String {
    format!("\n[[attack]]\nname = \"fgsm\"\nmethod = \"fgsm\"\neps = {eps:?}\nexamples = {EXAMPLES}\n")
}
