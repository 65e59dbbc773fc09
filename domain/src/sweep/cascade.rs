//! Attacks that come after others: whether the earlier one stands before, and says something of the same examples in the same ball.

use std::collections::HashSet;

use super::attack_section::{AttackSection, CascadeSection};
use super::report::{Report, listed};
use super::sections::Sweep;
use super::words::{counted, grouped};

/// Says of each cascade why it cannot be followed.
pub(super) fn can_be_followed(sweep: &Sweep, report: &Report) {
    for (number, attack) in sweep.attacks.iter().enumerate() {
        let Some(cascade) = &attack.cascade else { continue };
        let earlier = &sweep.attacks[cascade.after.value];
        if cascade.after.value >= number {
            say_it_comes_later(sweep, number, cascade, report);
        } else if let Some((message, help)) = mismatch(attack, earlier) {
            report.mistake_with_help(&cascade.after.at, message, help);
        } else {
            earlier_is_run(sweep, number, cascade, report);
        }
    }
}

fn say_it_comes_later(sweep: &Sweep, number: usize, cascade: &CascadeSection, report: &Report) {
    let (at, name) = (&cascade.after.at, &sweep.attacks[number].name);
    let earlier = &sweep.attacks[cascade.after.value].name;
    if cascade.after.value == number {
        report.mistake(at, format!("the attack `{name}` cannot come after itself"));
    } else if let Some(circle) = circle(sweep, number) {
        report.mistake(at, format!("attacks come after each other in a circle: {circle}"));
    } else {
        let message = format!("the attack `{earlier}` stands later in the file, and `{name}` is to come after it");
        report.mistake_with_help(at, message, format!("let the section of `{earlier}` stand before that of `{name}`"));
    }
}

/// The way from an attack back to itself.
fn circle(sweep: &Sweep, start: usize) -> Option<String> {
    let mut way = vec![start];
    let mut seen = HashSet::new();
    let mut next = start;
    while let Some(cascade) = &sweep.attacks[next].cascade {
        next = cascade.after.value;
        way.push(next);
        if next == start {
            return Some(way.iter().map(|number| sweep.attacks[*number].name.as_str()).collect::<Vec<_>>().join(" → "));
        }
        if !seen.insert(next) {
            break;
        }
    }
    None
}

/// Why the result of `earlier` says nothing of `attack`, and what to do.
fn mismatch(attack: &AttackSection, earlier: &AttackSection) -> Option<(String, String)> {
    let name = &earlier.name;
    if earlier.method.minimum_norm() {
        let message = format!("the attack `{name}` looks for the nearest point that fools, not in a ball of one ε");
        return Some((message, "let it come after an attack that has an ε".to_owned()));
    }
    if attack.norm != earlier.norm {
        let message = format!("the attack `{name}` has the norm `{}`, and this one `{}`", earlier.norm, attack.norm);
        return Some((message, "both need the same norm".to_owned()));
    }
    let at = |value: f64| earlier.eps.iter().any(|eps| eps.value().to_bits() == value.to_bits());
    if let Some(missing) = attack.eps.iter().find(|eps| !at(eps.value())) {
        let has: Vec<&str> = earlier.eps.iter().map(crate::experiment::Epsilon::text).collect();
        let message = format!("the attack `{name}` has no ε `{missing}` for this one to come after");
        return Some((message, format!("its radii: {}", listed(&has))));
    }
    let fewer =
        earlier.examples.as_ref().filter(|has| attack.examples.as_ref().is_none_or(|it| it.value > has.value))?;
    let wants = attack.examples.as_ref().map_or("all".to_owned(), |wants| grouped(wants.value));
    let message = format!("the attack `{name}` evaluates {}, and this one {wants}", counted(fewer.value, "example"));
    Some((message, "what it leaves of some says nothing of the others".to_owned()))
}

/// Says where the rules keep an attack for a run, and not the one it comes after.
fn earlier_is_run(sweep: &Sweep, number: usize, cascade: &CascadeSection, report: &Report) {
    let lacks = |attacks: &[usize]| attacks.contains(&number) && !attacks.contains(&cascade.after.value);
    let Some(run) = sweep.grid.runs.iter().find(|run| lacks(&run.attacks)) else { return };
    let earlier = &sweep.attacks[cascade.after.value].name;
    let message =
        format!("the rules drop the attack `{earlier}`, after which this one comes, for {}", sweep.describe(run));
    let help = "let the rules keep it, or drop this attack for the same runs";
    report.mistake_with_help(&cascade.after.at, message, help);
}
