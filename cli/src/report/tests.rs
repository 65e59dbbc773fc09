//! Pages of small, fixed sets of rows.

#![allow(clippy::unwrap_used, reason = "a test may stop at once")]

use gauntlet_domain::analyses::{AnalysisRow, ImageRow};
use gauntlet_domain::claims::{Evaluation, Examples};
use gauntlet_domain::results::ResultRow;
use gauntlet_domain::statistics::wilson_interval;
use gauntlet_domain::sweep::parse;
use gauntlet_proto::v1;
use roxmltree::{Document, Node};

use super::{Report, page};

const SWEEP: &str = r#"
name = "small"
description = "letters, and what they owe to pre-training"
seeds = [0, 1, 2]
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
eps = ["2/255", "8/255"]
[[attack]]
name = "noise"
method = "noise"
eps = "8/255"
"#;

fn evaluation(way: [&str; 2], seed: u64, attack: &str, eps: &str, clean: u32, robust: u32) -> Evaluation {
    let (low, high) = wilson_interval(u64::from(robust), 100).unwrap();
    let text = str::to_owned;
    let row = ResultRow {
        sweep: text("small-1a2b3c4d"),
        dataset: text("glyphs"),
        backbone: text("resnet18-w16"),
        init: text(way[0]),
        recipe: text(way[1]),
        seed,
        attack: text(attack),
        norm: text("linf"),
        eps: text(eps),
        examples: 100,
        clean_correct: clean,
        robust_correct: robust,
        aoi: f64::from(clean) / 100.0,
        aai: f64::from(robust) / 100.0,
        decline_ratio: Some(f64::from(clean - robust) / f64::from(clean)),
        aai_low: low,
        aai_high: high,
        stop_at_interval: None,
        examples_asked: 100,
    };
    let right = |count: u32| (0..100).map(|index| u32::from(index < count)).collect::<Vec<_>>();
    Evaluation { row, examples: Some(Examples::new(&[1; 100], &right(clean), &right(robust))) }
}

fn evaluations() -> Vec<Evaluation> {
    let mut found = Vec::new();
    for seed in 0..3 {
        let more = seed as u32;
        for (way, clean, robust) in [
            (["scratch", "standard"], 80, [70, 50, 79]),
            (["pretrained", "standard"], 90, [66, 21, 88]),
            (["pretrained", "dm"], 85, [75, 40 + more, 84]),
        ] {
            found.push(evaluation(way, seed, "pgd10", "2/255", clean + more, robust[0] + more));
            found.push(evaluation(way, seed, "pgd10", "8/255", clean + more, robust[1] + more % 2));
            found.push(evaluation(way, seed, "noise", "8/255", clean + more, robust[2] - more));
        }
    }
    found
}

fn report() -> Report {
    Report {
        sweep: v1::Sweep {
            sweep_id: "small-1a2b3c4d".to_owned(),
            name: "small".to_owned(),
            state: "succeeded".to_owned(),
            user: "ada".to_owned(),
            submitted_at_micros: 1_700_000_000_000_000,
            tasks: Some(v1::TaskCounts { succeeded: 40, ..Default::default() }),
            cells: 27,
            ..Default::default()
        },
        source: Ok(parse(SWEEP).unwrap()),
        evaluations: evaluations(),
        skipped: Vec::new(),
        analyses: Vec::new(),
        images: Vec::new(),
        warnings: Vec::new(),
        made_at: "2026-01-02 03:04 UTC".to_owned(),
    }
}

/// How alike layers are, and accuracy by radius.
fn analyses() -> Vec<AnalysisRow> {
    let row = |init: &str, seed, analysis: &str, (measure, layer): (&str, &str), x, value| AnalysisRow {
        sweep: "small-1a2b3c4d".to_owned(),
        dataset: "glyphs".to_owned(),
        backbone: "resnet18-w16".to_owned(),
        init: init.to_owned(),
        recipe: "standard".to_owned(),
        seed,
        analysis: analysis.to_owned(),
        method: match analysis {
            "bands" => "frequency",
            _ => "similarity",
        }
        .to_owned(),
        against: "start".to_owned(),
        examples: 500,
        measure: measure.to_owned(),
        layer: layer.to_owned(),
        x,
        value,
    };
    let mut rows = Vec::new();
    for (init, shared) in [("scratch", 0.2), ("pretrained", 0.8)] {
        for seed in 0..2 {
            let value = shared + 0.1 * seed as f64;
            for layer in ["layer1", "layer2", "logits"] {
                rows.push(row(init, seed, "to-the-start", ("cka", layer), None, value));
            }
            rows.push(row(init, seed, "bands", ("low-pass-accuracy", ""), Some(2.0), value));
            rows.push(row(init, seed, "bands", ("low-pass-accuracy", ""), Some(16.0), value / 2.0));
            rows.push(row(init, seed, "bands", ("null", ""), None, value));
        }
    }
    rows
}

/// Maps of three by three frequencies, of two ways of training by two seeds.
fn heat_maps() -> Vec<AnalysisRow> {
    let mut rows = Vec::new();
    for (init, least) in [("scratch", 0.1), ("pretrained", 0.5)] {
        for seed in 0..2 {
            for (vertical, horizontal) in (-1..=1).flat_map(|y| (-1..=1).map(move |x| (f64::from(y), f64::from(x)))) {
                let mut row = analyses()[0].clone();
                row.init = init.to_owned();
                row.seed = seed;
                (row.analysis, row.method, row.against) = ("waves".to_owned(), "heat-map".to_owned(), String::new());
                (row.measure, row.layer, row.x) =
                    ("error".to_owned(), format!("vertical={vertical}"), Some(horizontal));
                row.value = least + 0.2 * seed as f64 + 0.1 * (horizontal + 2.0 * vertical).abs();
                rows.push(row);
            }
        }
    }
    rows
}

/// Two images of each of two seeds of one run, and one of another.
fn images() -> Vec<ImageRow> {
    let row = |init: &str, seed, image: &str| ImageRow {
        sweep: "small-1a2b3c4d".to_owned(),
        dataset: "glyphs".to_owned(),
        backbone: "resnet18-w16".to_owned(),
        init: init.to_owned(),
        recipe: "standard".to_owned(),
        seed,
        analysis: "crafted".to_owned(),
        against: format!("scratch · standard · seed {seed}"),
        image: image.to_owned(),
        png: b"\x89PNG\r\n\x1a\n".to_vec(),
    };
    let of = |init, seed| ["example-0-original", "example-0-adversarial"].map(|image| row(init, seed, image));
    [&of("pretrained", 0)[..], &of("pretrained", 1), &of("scratch", 0)[..1]].concat()
}

/// The part of the page that people read; it is XML as well as HTML.
fn main_of(html: &str) -> &str {
    &html[html.find("<main>").unwrap()..html.find("</main>").unwrap() + "</main>".len()]
}

/// The text of a page: one line for each paragraph, heading and row, and the title of each figure.
fn text_of(html: &str) -> String {
    fn inside(node: Node<'_, '_>) -> String {
        let text: String = node.descendants().filter(Node::is_text).filter_map(|text| text.text()).collect();
        text.trim().to_owned()
    }
    fn write(node: Node<'_, '_>, lines: &mut Vec<String>) {
        match node.tag_name().name() {
            "h1" | "h2" | "h3" | "p" | "li" | "dt" | "summary" | "figcaption" if node.is_element() => {
                lines.push(inside(node))
            }
            "dd" if !node.children().any(|child| child.has_tag_name("ul")) => lines.push(format!("  {}", inside(node))),
            "tr" => lines.push(node.children().map(inside).collect::<Vec<_>>().join(" | ")),
            "svg" => {
                let title = node.children().find(|child| child.tag_name().name() == "title").map(inside);
                lines.extend(title.map(|title| format!("[figure] {title}")));
            }
            _ => node.children().for_each(|child| write(child, lines)),
        }
    }
    let document = Document::parse(main_of(html)).unwrap();
    let mut lines = Vec::new();
    write(document.root(), &mut lines);
    lines.join("\n")
}

#[test]
fn a_page_says_what_ran_what_it_means_by_which_test_and_from_which_numbers() {
    insta::assert_snapshot!(text_of(&page(&report()).unwrap()));
}

#[test]
fn every_figure_is_well_formed_and_names_itself() {
    let html = page(&report()).unwrap();
    let document = Document::parse(main_of(&html)).unwrap();
    let svg: Vec<_> = document.descendants().filter(|node| node.tag_name().name() == "svg").collect();
    let figures: Vec<_> =
        svg.iter().filter(|svg| svg.parent().is_some_and(|parent| parent.has_tag_name("figure"))).collect();
    assert_eq!(figures.len(), 3, "a curve of pgd10, and the plane under pgd10 and noise");
    for figure in figures {
        let title = figure.children().find(|child| child.tag_name().name() == "title").unwrap();
        assert_eq!(
            (figure.attribute("role"), figure.attribute("aria-labelledby")),
            (Some("img"), title.attribute("id"))
        );
        assert!(figure.descendants().any(|node| node.tag_name().name() == "polygon"), "it has markers");
        let table = figure.parent().unwrap().descendants().any(|node| node.has_tag_name("details"));
        assert!(table, "its numbers are there as a table");
    }
    let mut rest = html.as_str();
    while let Some(start) = rest.find("<svg") {
        let end = start + rest[start..].find("</svg>").unwrap() + "</svg>".len();
        Document::parse(&rest[start..end]).unwrap();
        rest = &rest[end..];
    }
}

#[test]
fn images_are_shown_of_the_first_seed_of_each_way() {
    let text = text_of(&page(&Report { images: images(), ..report() }).unwrap());
    let shown = &text[text.find("What analyses left").unwrap()..];
    assert_eq!(shown.matches("example 0 original").count(), 2, "{shown}");
    assert!(
        shown.contains("glyphs · resnet18-w16 · pretrained · standard · seed 0 against scratch · standard · seed 0"),
        "{shown}"
    );
    assert!(!shown.contains("seed 1"), "{shown}");
}

#[test]
fn a_page_needs_no_other_file_and_runs_nothing() {
    let html = page(&Report { images: images(), analyses: analyses(), ..report() }).unwrap();
    for reference in ["<script", "<link", "<img", "<iframe", "src=", "href=\"http", "url(", "@import", "javascript:"] {
        assert!(!html.contains(reference), "{reference}");
    }
    let sources: Vec<&str> = html.split("<image").skip(1).filter_map(|image| image.split("href=").nth(1)).collect();
    assert_eq!(sources.len(), 3);
    assert!(sources.iter().all(|source| source.starts_with("\"data:image/png;base64,iVBORw0KGgo")), "{sources:?}");
}

#[test]
fn hostile_names_stay_text() {
    const HOSTILE: &str = "</title></style></svg><script>alert(1)</script><b onclick='x'>\"&\u{1}";
    let mut hostile = report();
    hostile.sweep.name = HOSTILE.to_owned();
    hostile.sweep.user = HOSTILE.to_owned();
    hostile.source = Err(HOSTILE.to_owned());
    for Evaluation { row, .. } in &mut hostile.evaluations {
        for name in [&mut row.dataset, &mut row.init, &mut row.attack, &mut row.norm] {
            name.push_str(HOSTILE);
        }
    }
    let html = page(&hostile).unwrap();
    assert!(!html.contains("<script") && !html.contains("<b onclick"), "{html}");
    let document = Document::parse(main_of(&html)).unwrap();
    let known = |name: &str| !["script", "img", "style"].contains(&name);
    assert!(document.descendants().filter(Node::is_element).all(|node| known(node.tag_name().name())));
    assert!(text_of(&html).contains("<script>alert(1)</script>"), "it is there to be read");
}

#[test]
fn what_two_networks_lose_is_told_in_points_with_the_name_of_each() {
    let mut both = report();
    both.source = Ok(parse(&format!("{SWEEP}[[model]]\nbackbone = \"resnet18\"\n")).unwrap());
    let of_larger = both.evaluations.clone().into_iter().map(|mut evaluation| {
        evaluation.row.backbone = "resnet18".to_owned();
        if evaluation.row.init == "pretrained" {
            evaluation.row.robust_correct -= 20;
        }
        evaluation
    });
    both.evaluations.extend(of_larger.collect::<Vec<_>>());
    let text = text_of(&page(&both).unwrap());
    let row = "glyphs | resnet18 against resnet18-w16 | pgd10 (linf) | 8/255 | resnet18: pretrained · standard, less its standard twin | resnet18-w16: pretrained · standard, less its standard twin | −49.0 | −29.0 | −20.0 ";
    assert!(text.contains(row), "{text}");
}

#[test]
fn a_single_epsilon_is_said_to_make_no_curve() {
    let html = page(&report()).unwrap();
    assert!(
        text_of(&html).contains("glyphs · resnet18-w16 · noise (linf): no curve, because there is a single ε, 8/255")
    );
}

#[test]
fn an_unfinished_sweep_says_how_much_is_missing() {
    let mut unfinished = report();
    unfinished.evaluations.truncate(10);
    unfinished.sweep.state = "running".to_owned();
    unfinished.sweep.tasks =
        Some(v1::TaskCounts { succeeded: 20, leased: 2, pending: 15, failed: 3, ..Default::default() });
    let text = text_of(&page(&unfinished).unwrap());
    assert!(text.contains("Not complete. 20 of 40 tasks have no result (17 not finished, 3 ended without one), and 17 of 27 rows of the results are missing."), "{text}");
    assert!(!text_of(&page(&report()).unwrap()).contains("Not complete"));
}

#[test]
fn a_sweep_without_results_has_a_page_that_says_so() {
    let mut empty = report();
    empty.evaluations.clear();
    let text = text_of(&page(&empty).unwrap());
    assert!(text.contains("No evaluation has a result yet.") && text.contains("There are no results yet."), "{text}");
    assert!(text.contains("not tested by this sweep"), "{text}");
}

#[test]
fn what_the_sweep_file_declares_of_a_checkpoint_is_said_to_be_declared() {
    let given = "[[init]]\nname = \"given\"\ncheckpoint = \"w.safetensors\"\n";
    let told = |more: &str| {
        let source = parse(&format!("{SWEEP}{given}{more}")).unwrap();
        text_of(&page(&Report { source: Ok(source), ..report() }).unwrap())
    };
    assert!(told("").contains("given: an imported checkpoint, whose pre-training is not known"));
    let declared = "given: an imported checkpoint, declared to come from robust (adversarial) pre-training";
    assert!(told("robust = true\n").contains(declared));
}

#[test]
fn without_the_sweep_file_claims_are_said_not_to_be_tested() {
    let mut unknown = report();
    unknown.source = Err("the coordinator does not tell it".to_owned());
    let text = text_of(&page(&unknown).unwrap());
    assert!(text.contains("The sweep file is not known.") && text.contains("No claim was tested"), "{text}");
    assert!(text.contains("Twins are not joined"), "{text}");
}

#[test]
fn analyses_are_drawn_along_the_layers_or_their_own_axis() {
    let analysed = Report { analyses: analyses(), ..report() };
    let html = page(&analysed).unwrap();
    let document = Document::parse(main_of(&html)).unwrap();
    let figures = document.descendants().filter(|node| node.has_tag_name("figure")).count();
    assert_eq!(figures, 3 + 2, "one panel of layers, one of radii");
    assert!(["layer1", "layer2", "logits"].iter().all(|layer| html.contains(&format!("\n{layer}\n</text>"))), "{html}");
    assert!(html.contains("\nlayer\n</text>") && html.contains("\nradius, cycles per image\n</text>"), "{html}");
    let text = text_of(&html);
    let analyses = &text[text.find("Analyses").unwrap()..];
    insta::assert_snapshot!(analyses);
}

#[test]
fn layers_that_have_an_axis_of_their_own_have_a_panel_each() {
    let spectra = analyses()
        .into_iter()
        .filter(|row| row.x.is_some())
        .flat_map(|row| ["eps=2/255", "eps=8/255"].map(|layer| AnalysisRow { layer: layer.to_owned(), ..row.clone() }));
    let html = page(&Report { analyses: spectra.collect(), ..report() }).unwrap();
    let text = text_of(&html);
    assert!([", eps=2/255", ", eps=8/255"].iter().all(|layer| text.contains(layer)), "{text}");
    assert!(!html.contains("\nlayer\n</text>") && html.contains("\nradius, cycles per image\n</text>"), "{html}");
}

#[test]
fn heat_maps_are_drawn_for_each_way_of_training_on_one_scale() {
    let html = page(&Report { analyses: heat_maps(), ..report() }).unwrap();
    let document = Document::parse(main_of(&html)).unwrap();
    let is_map = |node: &Node<'_, '_>| {
        node.has_tag_name("figure") && node.attribute("aria-labelledby").is_some_and(|id| id.starts_with("heat-maps"))
    };
    // A seed more or less is 0.2, so that the maps of the means reach from 0.2 to 0.9: Viridis from end to end.
    let ends = ["#440154", "#FEE825"];
    let colours =
        |map: Node<'_, '_>| ends.map(|end| map.descendants().filter(|it| it.attribute("fill") == Some(end)).count());
    let found: Vec<[usize; 2]> = document.descendants().filter(is_map).map(colours).collect();
    assert_eq!(found, [[1, 0], [0, 2]], "the least is in one map, the most, at opposite frequencies, in the other");
    assert!(html.contains("\nvertical frequency, cycles per image\n</text>"));
    let text = text_of(&html);
    let maps = &text[text.find("Fourier heat maps").unwrap()..];
    insta::assert_snapshot!(maps);
}

#[test]
fn a_sweep_without_heat_maps_has_no_figure_of_them() {
    let html = page(&Report { analyses: analyses(), ..report() }).unwrap();
    assert!(!html.contains("Fourier heat maps") && html.contains("id=\"analyses\""));
    let html = page(&Report { analyses: heat_maps(), ..report() }).unwrap();
    assert!(html.contains("Fourier heat maps") && !html.contains("id=\"analyses\""));
}
