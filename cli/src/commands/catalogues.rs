//! `gauntlet datasets`, `backbones`, `recipes`, `attacks` and `analyses`: what a sweep file may name.

use std::process::ExitCode;

use gauntlet_domain::catalogue::{self, Entry, Parameter};
use gauntlet_domain::experiment::Backbone;
use serde::Serialize;

use crate::args::{AnalysisFormat, ListArgs, ListFormat};

/// Lists data sets and file formats.
///
/// # Errors
/// None in practice.
pub fn datasets(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let known = catalogue::datasets();
    let formats = catalogue::formats();
    if args.format == ListFormat::Json {
        return json(&serde_json::json!({ "datasets": known, "formats": formats }));
    }
    println!("[[dataset]] name = …: data sets known by name\n");
    for entry in &known {
        let image = entry.image;
        println!("{}: {}", entry.name, entry.summary);
        println!(
            "    {} classes, {}×{}×{}, {} train and {} test examples",
            entry.classes, image.channels, image.height, image.width, entry.train_examples, entry.test_examples
        );
        if let Some(expected) = entry.source.expected() {
            println!("    files: {expected}");
        }
        parameters(&entry.parameters);
    }
    println!("[[dataset]] format = …: your own files\n");
    entries(&formats);
    Ok(ExitCode::SUCCESS)
}

/// Lists backbones.
///
/// # Errors
/// None in practice.
pub fn backbones(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let known = catalogue::backbones();
    if args.format == ListFormat::Json {
        return json(&known);
    }
    println!("[[model]] backbone = …\n");
    for entry in &known {
        let channels: Vec<String> = entry.channels.iter().map(ToString::to_string).collect();
        println!("{}: {}", entry.name, entry.summary);
        let cifar = entry.min_image_size_with_cifar_stem;
        println!(
            "    {:.1} M parameters, images of {} channels from {} pixels{}{}{}",
            entry.parameters as f64 / 1e6,
            channels.join(" or "),
            entry.min_image_size,
            if entry.image_size_unit > 1 { format!(" in steps of {}", entry.image_size_unit) } else { String::new() },
            cifar.map(|least| format!("; with stem = \"cifar\" from {least}")).unwrap_or_default(),
            entry.default_width.map(width).unwrap_or_default()
        );
        for checkpoint in &entry.checkpoints {
            println!(
                "    checkpoint = {{ catalogue = \"{}\" }}: {}; {} classes, normalize = {{ mean = {}, std = {} }}",
                checkpoint.name, checkpoint.summary, checkpoint.classes, checkpoint.mean, checkpoint.std
            );
        }
        println!();
    }
    Ok(ExitCode::SUCCESS)
}

/// That a backbone has a width, and which.
fn width(default: u32) -> String {
    let (unit, widths) = (Backbone::WIDTH_UNIT, Backbone::WIDTHS);
    format!("; width = {default}, or another multiple of {unit} from {} to {}", widths.start(), widths.end())
}

/// Lists recipes.
///
/// # Errors
/// None in practice.
pub fn recipes(args: &ListArgs) -> anyhow::Result<ExitCode> {
    list("[[recipe]] method = …", &catalogue::recipes(), args.format)
}

/// Lists attacks.
///
/// # Errors
/// None in practice.
pub fn attacks(args: &ListArgs) -> anyhow::Result<ExitCode> {
    list("[[attack]] method = …", &catalogue::attacks(), args.format)
}

/// Lists analyses.
///
/// # Errors
/// A format for numbers.
pub fn analyses(format: AnalysisFormat) -> anyhow::Result<ExitCode> {
    let format = match format {
        AnalysisFormat::Table => ListFormat::Table,
        AnalysisFormat::Json => ListFormat::Json,
        AnalysisFormat::Csv => anyhow::bail!("the list of the methods is no CSV: say --format json, or name a sweep"),
    };
    list("[[analysis]] method = …", &catalogue::analyses(), format)
}

fn list(title: &str, known: &[Entry], format: ListFormat) -> anyhow::Result<ExitCode> {
    if format == ListFormat::Json {
        return json(&known);
    }
    println!("{title}\n");
    entries(known);
    Ok(ExitCode::SUCCESS)
}

fn json(value: &impl Serialize) -> anyhow::Result<ExitCode> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(ExitCode::SUCCESS)
}

fn entries(entries: &[Entry]) {
    for entry in entries {
        println!("{}: {}", entry.name, entry.summary);
        parameters(&entry.parameters);
    }
}

fn parameters(parameters: &[Parameter]) {
    for Parameter { key, default, meaning } in parameters {
        let default = default.as_ref().map_or_else(|| "required".to_owned(), |default| format!("default {default}"));
        println!("    {key}: {meaning} ({default})");
    }
    println!();
}
