//! What the sweep says of the claims.

use gauntlet_domain::claims::{Basis, Claim, Comparison, Measure, Outcome, Overall, RULE, Side, Verdict, claims};
use maud::{Markup, html};

use super::Report;
use super::table::{self, percent, points};

/// More comparisons are folded away.
const SHOWN: usize = 16;
const HEADER: [&str; 12] = [
    "data set",
    "model",
    "attack",
    "ε",
    "this",
    "against",
    "this %",
    "against %",
    "difference, points (95 % interval)",
    "tested over",
    "p (adjusted)",
    "outcome",
];

/// Every claim with its verdict and comparisons, and the signs of masked gradients.
pub fn section(report: &Report) -> Markup {
    html! {
        section aria-labelledby="findings" {
            h2 id="findings" { "Findings" }
            @if let Ok(source) = &report.source {
                @let found = claims(source, &report.evaluations, &report.analyses);
                p { "The claims are those of " cite { "ImageNet Pre-training also Transfers Non-Robustness" } " (arXiv 2106.10989), but for the signs of P6, which are this project's hypotheses; the verdicts are of this sweep alone." }
                (overview(&found))
                p.note { strong { "How a verdict is found. " } (RULE) }
                @for claim in &found { (one(claim)) }
            } @else {
                p { "No claim was tested: the sweep file is not known." }
            }
            (masking(report))
        }
    }
}

fn overview(found: &[Claim]) -> Markup {
    html! {
        ul.verdicts {
            @for claim in found {
                li { a href={ "#" (claim.id) } { (claim.id) } " " (claim.statement) ": " (badge(claim.verdict)) (tally(claim)) (mean(claim)) }
            }
        }
    }
}

fn badge(verdict: Verdict) -> Markup {
    let class = match verdict {
        Verdict::Holds => "holds",
        Verdict::Fails => "fails",
        Verdict::Mixed => "mixed",
        Verdict::Undecided | Verdict::NotTested => "open",
    };
    html! { strong.verdict.(class) { (verdict.words()) } }
}

fn tally(claim: &Claim) -> String {
    if claim.comparisons.is_empty() {
        return String::new();
    }
    let [holds, fails, undecided] =
        [Outcome::Holds, Outcome::Fails, Outcome::Undecided].map(|outcome| claim.count(outcome));
    format!(" ({holds} for it, {fails} against, {undecided} undecided, of {})", counted(claim.comparisons.len()))
}

/// What it comes to on average.
fn mean(claim: &Claim) -> String {
    let Some(Overall { comparisons, seeds, difference, outcome }) = claim.overall() else { return String::new() };
    format!(
        "; in the mean over {comparisons} comparisons {} points ({} to {}), {seeds} seeds, p {}: {}",
        points(difference.estimate),
        points(difference.low),
        points(difference.high),
        p_value(difference.p_value),
        outcome.words(),
    )
}

fn counted(comparisons: usize) -> String {
    format!("{comparisons} comparison{}", if comparisons == 1 { "" } else { "s" })
}

fn one(claim: &Claim) -> Markup {
    let rows: Vec<Vec<String>> = claim.comparisons.iter().map(cells).collect();
    html! {
        h3 id=(claim.id) { (claim.id) ". " (claim.statement) }
        p { (badge(claim.verdict)) (tally(claim)) (mean(claim)) }
        @if claim.comparisons.is_empty() { p { "What it takes: " (claim.needs) "." } }
        @if claim.untested > 0 {
            p { (counted(claim.untested)) " could not be tested: for want of a second seed or of outcomes per example, or because nothing is right before the attack." }
        }
        @if claim.comparisons.len() > SHOWN {
            details { summary { (counted(rows.len())) } (table::new(&HEADER, &[6, 7, 8, 10], &rows)) }
        } @else if !rows.is_empty() {
            (table::new(&HEADER, &[6, 7, 8, 10], &rows))
        }
    }
}

fn cells(comparison: &Comparison) -> Vec<String> {
    let Comparison { first, second, difference, measure, .. } = comparison;
    let share = |share: f64| if *measure == Measure::AaiGap { points(share) } else { percent(share) };
    let interval =
        format!("{} ({} to {})", points(difference.estimate), points(difference.low), points(difference.high));
    vec![
        comparison.dataset.clone(),
        one_or_both(&first.backbone, &second.backbone),
        attack(comparison),
        eps(comparison).to_owned(),
        model(first, *measure),
        model(second, *measure),
        share(comparison.shares[0]),
        share(comparison.shares[1]),
        interval,
        basis(comparison.basis, *measure),
        format!("{} ({})", p_value(difference.p_value), p_value(comparison.adjusted_p_value)),
        comparison.outcome.words().to_owned(),
    ]
}

/// A name that both sides share, or that of each.
fn one_or_both(first: &str, second: &str) -> String {
    if first == second { first.to_owned() } else { format!("{first} against {second}") }
}

fn attack(Comparison { first, second, measure, norm, .. }: &Comparison) -> String {
    match measure {
        Measure::Aoi => format!("none (original inputs of {})", first.attack),
        Measure::Aai | Measure::DeclineRatio | Measure::MatchedAai | Measure::AaiGap => {
            format!("{} ({norm})", one_or_both(&first.attack, &second.attack))
        }
        Measure::Cka => "none (similarity)".to_owned(),
        Measure::Fooled => "universal perturbation".to_owned(),
    }
}

fn eps(comparison: &Comparison) -> &str {
    match comparison.measure {
        Measure::Aoi | Measure::Cka | Measure::Fooled => "–",
        Measure::Aai | Measure::DeclineRatio | Measure::MatchedAai | Measure::AaiGap => &comparison.eps,
    }
}

fn model(side: &Side, measure: Measure) -> String {
    let Side { init, recipe, attack, backbone } = side;
    match measure {
        Measure::Aoi | Measure::Aai | Measure::DeclineRatio | Measure::MatchedAai => format!("{init} · {recipe}"),
        Measure::AaiGap => format!("{backbone}: {init} · {recipe}, less its standard twin"),
        Measure::Cka | Measure::Fooled => format!("{init} · {recipe} and {attack}"),
    }
}

fn basis(basis: Basis, measure: Measure) -> String {
    match basis {
        Basis::Seeds { seeds, examples } if measure == Measure::MatchedAai => {
            format!("{seeds} seeds × at least {examples} examples that both get right (paired t)")
        }
        Basis::Seeds { seeds, examples } => format!("{seeds} seeds × {examples} examples (paired t)"),
        Basis::Examples { examples, only_first, only_second } => {
            let (which, alone) = match measure {
                Measure::DeclineRatio => (" that both get right", "fall in"),
                Measure::MatchedAai => (" that both get right", "withstand in"),
                Measure::Aoi | Measure::Aai | Measure::AaiGap | Measure::Cka | Measure::Fooled => ("", "right in"),
            };
            format!(
                "{examples} examples{which}, one seed: {only_first} {alone} this alone, {only_second} in the other alone (exact McNemar)"
            )
        }
    }
}

fn p_value(p: f64) -> String {
    if p < 1e-4 { "< 0.0001".to_owned() } else { format!("{p:.4}") }
}

fn masking(report: &Report) -> Markup {
    html! {
        h3 id="masking" { "Control: signs of masked gradients" }
        @if report.warnings.is_empty() {
            p { "No warning: beyond chance, no attack of this sweep that follows gradients is beaten by itself at a smaller ε, by noise or by a black box, and no more than 5 % of the first gradients are zero." }
        } @else {
            p { strong.verdict.fails { (report.warnings.len()) " warnings" } " A robust accuracy that one of them names is in doubt." }
            ul { @for warning in &report.warnings { li { (warning.sentence()) } } }
        }
    }
}
