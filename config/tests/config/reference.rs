//! The reference file is current, complete, and says what the defaults are.

use crate::support::{Sources, yaml};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/reference.yml");

#[test]
fn the_reference_file_is_what_the_table_says() {
    let expected = turnpike_config::reference();
    if std::env::var_os("TURNPIKE_UPDATE").is_some() {
        std::fs::write(FILE, &expected).unwrap();
    }
    let found = std::fs::read_to_string(FILE).unwrap_or_default();
    assert!(
        found == expected,
        "config/reference.yml is not current: TURNPIKE_UPDATE=1 cargo test -p turnpike-config reference"
    );
}

#[test]
fn the_reference_file_loads_without_a_word_and_changes_no_default() {
    let reference = yaml(&turnpike_config::reference());
    assert_eq!(reference.diagnostics(), "");
    let [reference, defaults] = [reference, yaml("")].map(|sources| {
        let mut config = sources.config();
        config.files.clear();
        config
    });
    let effective = reference
        .effective
        .iter()
        .filter(|(key, _)| !key.contains(".users."));
    assert!(effective.eq(defaults.effective.iter()));
    let plain = |mut config: turnpike_config::Config| {
        config.effective.clear();
        format!("{config:#?}")
    };
    assert_eq!(plain(reference), plain(defaults));
}

#[test]
fn every_commented_setting_of_the_reference_file_is_a_setting() {
    let reference = turnpike_config::reference();
    // A commented setting is `key: value` or `- key: value`; prose is not.
    let is_setting = |text: &str| {
        let key = text
            .trim_start_matches("- ")
            .split_once(':')
            .map(|(key, _)| key);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        key.is_some_and(|key| !key.is_empty() && key.bytes().all(plain))
    };
    let text: Vec<String> = reference
        .lines()
        .map(|line| match line.trim_start().strip_prefix("# ") {
            Some(setting) if is_setting(setting) => line.replacen("# ", "", 1),
            _ => line.to_owned(),
        })
        .collect();
    assert!(text.iter().any(|line| line == "  - id: \"main\""));
    let text = text.join("\n");
    let diagnostics = Sources::new().yaml(&text).diagnostics();
    assert!(!diagnostics.contains("unknown"), "{diagnostics}");
    assert!(!diagnostics.contains("YAML"), "{diagnostics}");
    assert!(!diagnostics.contains("twice"), "{diagnostics}");
}
