//! `gauntlet report`, of a sweep that ended and of one that nobody works on.

#![allow(clippy::unwrap_used, reason = "a test may stop at once")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{RunningCoordinator, fail, fixture, gauntlet, succeed, text};
use gauntlet_postgres::testing::TestDatabase;
use roxmltree::Document;

/// The fixture `small`, smaller still, under this name; other epochs are other tasks.
fn tiny(folder: &Path, name: &str, epochs: u32) -> PathBuf {
    let sweep = fs::read_to_string(fixture("small.toml")).unwrap();
    let replaced = [
        ("name = \"small\"", format!("name = \"{name}\"")),
        ("seeds = [0, 1]", "seeds = [0]".to_owned()),
        ("epochs = 16", format!("epochs = {epochs}")),
        ("epochs = 4", format!("epochs = {epochs}")),
    ];
    let sweep = replaced.iter().fold(sweep, |sweep, (from, to)| sweep.replace(from, to));
    let path = folder.join(format!("{name}.toml"));
    fs::write(&path, sweep).unwrap();
    path
}

/// The page's main part, which is XML too.
fn main_of(page: &Path) -> String {
    let html = fs::read_to_string(page).unwrap();
    let end = html.find("</main>").unwrap() + "</main>".len();
    html[html.find("<main>").unwrap()..end].to_owned()
}

#[test]
fn a_sweep_is_reported_with_its_verdicts_and_figures_and_an_unfinished_one_with_what_it_misses() {
    let state = tempfile::tempdir().unwrap();
    let database = TestDatabase::create().unwrap();
    let page = state.path().join("report.html");
    let with_database = || {
        let mut command = gauntlet(state.path());
        command.args(["--database-url", database.url()]);
        command
    };
    succeed(with_database().arg("run").arg(tiny(state.path(), "done", 1)));
    let said = succeed(with_database().args(["report", "done", "--out"]).arg(&page));
    assert_eq!(said, "", "the answer is the file");
    let main = main_of(&page);
    let document = Document::parse(&main).unwrap();
    let figures = document.descendants().filter(|node| node.has_tag_name("figure")).count();
    assert_eq!(figures, 2, "pgd5 has two ε: a curve and a plane");
    assert!(main.contains("exact McNemar)") && main.contains("P7b"), "one seed is tested over its examples");
    assert!(!main.contains("Not complete"), "every task has a result");

    let coordinator = RunningCoordinator::start(state.path(), &database, "127.0.0.1:0");
    let asked = || {
        let mut command = gauntlet(state.path());
        command.args(["--endpoint", &coordinator.endpoint]);
        command
    };
    succeed(asked().arg("submit").arg(tiny(state.path(), "waiting", 2)));
    succeed(asked().args(["report", "waiting", "--out"]).arg(&page));
    let main = main_of(&page);
    Document::parse(&main).unwrap();
    assert!(main.contains("Not complete.") && main.contains("10 of 10 tasks have no result"), "nobody works on it");
    assert!(!main.contains("exact McNemar)"), "the newer page took the place of the older one");
}

#[test]
fn an_unknown_sweep_leaves_no_page() {
    let state = tempfile::tempdir().unwrap();
    let database = TestDatabase::create().unwrap();
    let page = state.path().join("report.html");
    let output =
        fail(gauntlet(state.path()).args(["--database-url", database.url(), "report", "nothing", "--out"]).arg(&page));
    assert!(text(&output.stderr).contains("there is no sweep `nothing`"), "{}", text(&output.stderr));
    assert!(!page.exists());
    assert!(
        fs::read_dir(state.path()).unwrap().all(|entry| !entry.unwrap().path().to_string_lossy().contains("partial"))
    );
}
