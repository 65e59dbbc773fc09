//! What fine-tuned models have in common with their starts and twins.

use super::*;

fn similarity(seed: u64, against: &str, layer: &str, value: f64) -> AnalysisRow {
    AnalysisRow {
        sweep: "s".into(),
        dataset: "glyphs".into(),
        backbone: "resnet18-w16".into(),
        init: "pretrained".into(),
        recipe: "standard".into(),
        seed,
        analysis: if against == "start" { "likeness-start" } else { "likeness-twin" }.into(),
        method: "similarity".into(),
        against: against.into(),
        examples: 500,
        measure: "cka".into(),
        layer: layer.into(),
        x: None,
        value,
    }
}

/// For each seed the similarity with the start and with the standard twin, the same in both layers; heads have nothing in common.
fn similarities(seeds: &[[f64; 2]]) -> Vec<AnalysisRow> {
    let of_seed = |(seed, [start, twin]): (u64, &[f64; 2])| {
        let twin_of_seed = format!("scratch · standard · seed {seed}");
        [("start", *start), (&twin_of_seed, *twin)]
            .iter()
            .flat_map(|(against, value)| {
                let layers = [("layer1", *value), ("features", *value), ("logits", 0.0)];
                layers.map(|(layer, value)| similarity(seed, against, layer, value))
            })
            .collect::<Vec<_>>()
    };
    (0..).zip(seeds).flat_map(of_seed).collect()
}

fn p3(rows: &[AnalysisRow]) -> Claim {
    claims(&sweep(), &[], rows).into_iter().find(|claim| claim.id == "P3").unwrap()
}

#[test]
fn a_model_that_stays_closer_to_its_start_than_to_its_twin_bears_the_study_out() {
    let found = p3(&similarities(&[[0.8, 0.5], [0.82, 0.5], [0.78, 0.49]]));
    assert_eq!((found.verdict, found.comparisons.len()), (Verdict::Holds, 1));
    let only = &found.comparisons[0];
    assert_eq!((only.basis, only.measure), (Basis::Seeds { seeds: 3, examples: 500 }, Measure::Cka));
    assert!((only.shares[0] - 0.8).abs() < 1e-12 && (only.difference.estimate - 0.91 / 3.0).abs() < 1e-12, "{only:?}");
    assert_eq!((only.first.attack.as_str(), only.second.attack.as_str()), ("its start", "scratch · standard"));
}

#[test]
fn one_that_is_closer_to_its_twin_speaks_against_the_study() {
    assert_eq!(p3(&similarities(&[[0.4, 0.7], [0.42, 0.7], [0.41, 0.69]])).verdict, Verdict::Fails);
}

#[test]
fn similarities_of_one_seed_or_of_other_layers_decide_nothing() {
    let alone = p3(&similarities(&[[0.8, 0.5]]));
    assert_eq!((alone.verdict, alone.untested), (Verdict::NotTested, 1));
    let mut rows = similarities(&[[0.8, 0.5], [0.8, 0.5]]);
    rows.retain(|row| row.against == "start" || row.layer != "layer1");
    assert_eq!((p3(&rows).verdict, p3(&rows).untested), (Verdict::NotTested, 0));
}

#[test]
fn sections_that_differ_in_more_than_the_other_model_are_not_compared() {
    let rows = similarities(&[[0.8, 0.5], [0.82, 0.5], [0.78, 0.49]]);
    let asked = |of_twin: &str| {
        let twin = "name = \"likeness-twin\"\nmethod = \"similarity\"\n";
        let sweep = parse(&SWEEP.replace(twin, &format!("{twin}{of_twin}"))).unwrap();
        claims(&sweep, &[], &rows).into_iter().find(|claim| claim.id == "P3").unwrap().verdict
    };
    assert_eq!(asked(""), Verdict::Holds);
    assert_eq!(asked("threshold = 0.9\n"), Verdict::NotTested);
    assert_eq!(asked("examples = 100\n"), Verdict::NotTested);
}

#[test]
fn what_a_start_and_a_twin_pass_on_is_compared_by_universal_perturbations_of_the_same_radius() {
    let rows = |start: f64, twin: f64, eps: f64| {
        let mut rows = similarities(&[[start, twin], [start + 0.02, twin], [start, twin + 0.01]]);
        rows.retain(|row| row.layer == "layer1");
        for row in &mut rows {
            (row.method, row.measure, row.layer, row.x) = ("uap".into(), "received".into(), String::new(), Some(eps));
            row.analysis = row.analysis.replace("likeness", "uap");
        }
        rows
    };
    let p4 = |rows: &[AnalysisRow]| claims(&sweep(), &[], rows).into_iter().find(|claim| claim.id == "P4").unwrap();
    let found = p4(&rows(0.6, 0.2, 0.03));
    assert_eq!(
        (found.verdict, found.comparisons.len(), found.comparisons[0].measure),
        (Verdict::Holds, 1, Measure::Fooled)
    );
    // Half of the examples were crafted on.
    assert_eq!(found.comparisons[0].basis, Basis::Seeds { seeds: 3, examples: 250 });
    assert_eq!(p4(&rows(0.2, 0.6, 0.03)).verdict, Verdict::Fails);
    let mut of_two_radii = rows(0.6, 0.2, 0.03);
    of_two_radii.iter_mut().filter(|row| row.against == "start").for_each(|row| row.x = Some(0.06));
    assert_eq!(p4(&of_two_radii).verdict, Verdict::NotTested);
    assert_eq!(p3(&rows(0.6, 0.2, 0.03)).verdict, Verdict::NotTested, "it is about likeness");
}
