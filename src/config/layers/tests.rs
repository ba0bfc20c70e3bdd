use super::*;

fn variables(pairs: &[(&str, &str)]) -> Vec<Variable> {
    pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn read(inherited: &[(&str, &str)], overrides: &Overrides) -> Layers {
    Layers::read_under(&variables(inherited), overrides, &World::live()).expect("a configuration")
}

/// The text of a value that came as one.
fn text(layers: &Layers, key: &'static str) -> Option<String> {
    match &layers.get(key).value {
        Raw::Untyped(text) => Some(text.clone()),
        _ => None,
    }
}

fn notes(layers: &Layers) -> Vec<String> {
    layers.platform_notes().collect()
}

#[test]
fn platforms_set_defaults_and_a_note_names_the_variable() {
    let inherited =
        [("PORT", "8000"), ("WEB_CONCURRENCY", "7"), ("FORWARDED_ALLOW_IPS", "10.0.0.1"), ("PATH", "/bin")];
    let layers = read(&inherited, &Overrides::default());
    assert_eq!(text(&layers, "BIND").as_deref(), Some("0.0.0.0:8000"));
    assert_eq!(text(&layers, "WORKERS").as_deref(), Some("7"));
    assert_eq!(text(&layers, "FORWARDED_ALLOW_IPS").as_deref(), Some("10.0.0.1"));
    assert_eq!(
        notes(&layers),
        [
            "BIND is 0.0.0.0:8000, by the environment variable PORT",
            "WORKERS is 7, by the environment variable WEB_CONCURRENCY",
            "FORWARDED_ALLOW_IPS is 10.0.0.1, by the environment variable FORWARDED_ALLOW_IPS",
        ]
    );
}

#[test]
fn empty_variables_of_platforms_and_those_of_the_application_do_not_count() {
    let mut overrides = Overrides::default();
    overrides.set_variable("WEB_CONCURRENCY".to_owned(), "7".to_owned());
    let layers = read(&[("PORT", ""), ("WEB_CONCURRENCY", "")], &overrides);
    assert!(layers.is_default("BIND") && layers.is_default("WORKERS"));
    assert_eq!(notes(&layers), [""; 0]);
}

#[test]
fn settings_win_over_variables_of_platforms_without_a_note() {
    let layers =
        read(&[("WEB_CONCURRENCY", "7"), ("PORT", "80"), ("AVALON_WORKERS", "5")], &Overrides::default());
    assert_eq!(text(&layers, "WORKERS").as_deref(), Some("5"));
    assert_eq!(notes(&layers), ["BIND is 0.0.0.0:80, by the environment variable PORT"]);
}

#[test]
fn a_key_is_default_until_a_source_sets_it() {
    let mut overrides = Overrides::default();
    overrides.set("BACKLOG", "5".to_owned());
    let layers = read(&[("AVALON_WORKERS", "3")], &overrides);
    assert!(layers.is_default("BIND"));
    // Also to the same value.
    assert!(!layers.is_default("WORKERS") && !layers.is_default("BACKLOG"));
    assert_eq!(layers.get("WORKERS").origin, Origin::Environment("AVALON_WORKERS".to_owned()));
}

#[test]
fn variables_of_the_command_line_replace_inherited_ones_and_leave_the_others() {
    let mut overrides = Overrides::default();
    overrides.set_variable("AVALON_WORKERS".to_owned(), "6".to_owned());
    let layers = read(&[("AVALON_WORKERS", "5"), ("AVALON_BACKLOG", "9")], &overrides);
    assert_eq!(text(&layers, "WORKERS").as_deref(), Some("6"));
    assert_eq!(text(&layers, "BACKLOG").as_deref(), Some("9"));
    // A bad value that is replaced is no fault.
    let bad = [("AVALON_WORKRES".into(), "1".into()), ("AVALON_WORKERS".into(), not_utf8())];
    let layers = Layers::read_under(&bad, &overrides, &World::live()).expect("a configuration");
    assert_eq!(layers.unknown_variables, [("AVALON_WORKRES".to_owned(), Some("WORKERS"))]);
    let error = Layers::read_under(&bad, &Overrides::default(), &World::live()).expect_err("a fault");
    assert!(matches!(error, ConfigError::Value { key: "WORKERS", .. }), "{error}");
}

fn not_utf8() -> OsString {
    use std::os::unix::ffi::OsStringExt;
    OsString::from_vec(vec![b'5', 0xff])
}

#[test]
fn the_file_is_that_of_the_flag_or_of_the_environment_or_of_gunicorns_flags() {
    let folder = tempfile::tempdir().unwrap();
    let [flag, variable, below] = ["flag", "variable", "below"].map(|name| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("REQUEST_PATH = \"/{name}\"\n")).unwrap();
        path
    });
    let found = |inherited: &[(&str, &str)], overrides: &Overrides| match &read(inherited, overrides)
        .get("REQUEST_PATH")
        .value
    {
        Raw::Text(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    let named = [("AVALON_CONFIG", variable.to_str().unwrap())];
    let mut overrides = Overrides { file_below: Some(below), ..Overrides::default() };
    assert_eq!(found(&[], &overrides), "/below");
    assert_eq!(found(&[("AVALON_CONFIG", "")], &overrides), "/below");
    assert_eq!(found(&named, &overrides), "/variable");
    overrides.set_file(flag);
    assert_eq!(found(&named, &overrides), "/flag");
    assert_eq!(found(&[], &Overrides::default()), "/avalon");
}

#[test]
fn a_python_file_is_told_from_a_faulty_toml_file_by_its_name_or_its_text() {
    let folder = tempfile::tempdir().unwrap();
    let fault = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let mut overrides = Overrides::default();
        overrides.set_file(path);
        Layers::read_under(&[], &overrides, &World::live()).expect_err("a fault")
    };
    assert!(matches!(fault("settings.py", "WORKERS = = 3\n"), ConfigError::Python { .. }));
    assert!(matches!(fault("settings", "DEBUG = True\n"), ConfigError::Python { .. }));
    for name in ["settings.toml", "settings"] {
        assert!(matches!(fault(name, "WORKERS = = 3\n"), ConfigError::Syntax { .. }), "{name}");
    }
}
