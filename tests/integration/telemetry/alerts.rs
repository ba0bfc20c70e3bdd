//! `config/alerts.yaml`, as promtool reads it: each rule fires when it should, and asks for metrics that there are.

use std::fs;
use std::process::Command;

use super::prometheus::{names, scrape};
use crate::harness::server::{Setup, collection};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const RULES: &str = "config/alerts.yaml";
const CASES: &str = "tests/fixtures/alerts.test.yaml";

fn promtool(arguments: &[&str]) -> String {
    let output = Command::new("promtool").args(arguments).current_dir(ROOT).output();
    let output = output.expect("promtool: scripts/install-test-deps");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

fn text(path: &str) -> String {
    fs::read_to_string(std::path::Path::new(ROOT).join(path)).expect(path)
}

/// The values of all lines with this key.
fn values<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| line.trim_start().trim_start_matches("- ").strip_prefix(key))
}

#[test]
fn every_rule_fires_when_it_should_and_never_for_servers_that_are_well() {
    assert!(promtool(&["check", "rules", RULES]).contains("10 rules found"));
    promtool(&["test", "rules", CASES]);
    // Each rule has a case in which it fires and one in which it does not.
    let (rules, cases) = (text(RULES), text(CASES));
    for rule in values(&rules, "alert: ") {
        assert!(
            cases.contains(&format!("\n        alertname: {rule}\n        exp_alerts:")),
            "{rule} never fires"
        );
        assert!(cases.contains(&format!("{{ eval_time: 20m, alertname: {rule} }}")), "{rule} is never quiet");
    }
}

#[test]
fn rules_ask_only_for_metrics_that_exist() {
    let server = Setup::with(&collection(1)).start();
    let page = scrape(&server);
    let families = page.families();
    let rules = text(RULES);
    let mut asked = 0;
    for line in rules.lines().filter(|line| line.contains("avalon_")) {
        for name in names(line) {
            let family = ["_bucket", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            assert!(families.contains_key(family.unwrap_or(name)), "{name} in {line}");
            asked += 1;
        }
    }
    assert!(asked >= 10, "{asked}");
}
