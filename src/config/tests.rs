use stationmaster_train::rule::{Enforcement, Rule};

use super::*;

const EXAMPLE: &str = include_str!("../../deploy/stationmaster.toml");

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("test.toml"))
}

fn replaced(from: &str, to: &str) -> Result<Config, ConfigError> {
    assert!(EXAMPLE.contains(from), "{from}");
    parse(&EXAMPLE.replacen(from, to, 1))
}

#[test]
fn the_shipped_example_is_a_configuration() {
    let config = parse(EXAMPLE).unwrap();
    assert_eq!(config.station, "station-1");
    assert_eq!(config.keys.train, ["station-1"]);
    assert_eq!(config.listen.unix_mode, 0o660);
    assert!(!config.compat.move_latest && !config.tokens.all()[0].allow_raw_unwrap);
}

#[test]
fn the_example_documents_every_key_with_its_default() {
    let commented: String =
        EXAMPLE.lines().map(|line| line.strip_prefix("#= ").unwrap_or(line)).fold(String::new(), |text, line| text + line + "\n");
    let config = parse(&commented).unwrap();
    let (limits, default) = (&config.limits, Limits::default());
    assert_eq!(format!("{limits:?}"), format!("{default:?}"));
    assert_eq!(format!("{:?}", config.engine), format!("{:?}", EngineConfig::default()));
    assert_eq!(format!("{:?}", config.log), format!("{:?}", LogConfig::default()));
    assert_eq!(config.audit.key, AuditConfig::default().key);
    let numbers = |audit: &AuditConfig| (audit.checkpoint_records, audit.checkpoint_s, audit.segment_mib);
    assert_eq!(numbers(&config.audit), numbers(&AuditConfig::default()));
    assert!(config.audit.second.as_ref().is_some_and(|second| second.sink().is_some()) && !config.listen.reflection);
    let (trust, rules) = (&config.trust, &config.rules);
    assert_eq!((trust.mode, &trust.file), (TrustConfig::default().mode, &Some("/etc/stationmaster/trust.toml".into())));
    assert_eq!(format!("{rules:?}"), format!("{:?}", Rules::default()));
    assert!(config.listen.tcp.is_some() && config.listen.unix_group.is_some());
    assert!(config.tokens.all()[0].module().init_args.is_some_and(|text| text.starts_with("configdir='sql:/")));
}

#[test]
fn the_least_configuration_gets_its_defaults() {
    let config = parse(
        "station = \"s\"\n[token]\nmodule = \"/m.so\"\nlabel = \"t\"\n[state]\ndirectory = \"/s\"\n[listen]\nunix = \"/a\"\n",
    )
    .unwrap();
    assert_eq!(config.keys.train, ["s"]);
    assert_eq!(config.tokens.all()[0].pin(), PinSetting::Prompt);
    assert_eq!(config.limits.streams, 64);
}

#[test]
fn tokens_are_one_table_or_several_and_each_is_named_in_one_way() {
    let with =
        |tokens: &str| parse(&format!("station = \"s\"\n{tokens}\n[state]\ndirectory = \"/s\"\n[listen]\nunix = \"/a\"\n"));
    let two = with(
        "[[token]]\nmodule = \"/m.so\"\nuri = \"pkcs11:token=a;serial=1\"\n[[token]]\nmodule = \"/n.so\"\nserial = \"2\"\nstandby = true\n",
    )
    .unwrap();
    let selectors: Vec<_> = two.tokens.all().iter().map(|token| token.selector().uri().to_string()).collect();
    assert_eq!(selectors, ["pkcs11:token=a;serial=1", "pkcs11:serial=2"]);
    for name in ["a", "1", "pkcs11:token=a", "pkcs11:serial=1"] {
        assert_eq!(two.tokens.select(Some(name)).unwrap().module, Path::new("/m.so"), "{name}");
    }
    for (name, message) in [(None, "several tokens"), (Some("b"), "no token"), (Some("pkcs11:object=a"), "no token")] {
        let error = two.tokens.select(name).unwrap_err();
        assert!(error.contains(message), "{name:?}: {error}");
    }
    for (tokens, message) in [
        ("token = []", "invalid length 0"),
        ("[token]\nmodule = \"/m.so\"", "names no token"),
        ("[token]\nmodule = \"/m.so\"\nlabel = \"a\"\nuri = \"pkcs11:token=a\"", "`label` or `serial` is there, too"),
        ("[token]\nmodule = \"/m.so\"\nuri = \"pkcs11:token=a;object=b\"", "names more than the token"),
        ("[token]\nmodule = \"/m.so\"\nuri = \"pkcs11:token=a?pin-value=1\"", "pin-value is not accepted"),
        ("[[token]]\nmodule = \"/m.so\"\nlabel = \"a\"\nstandby = true", "every token is a standby"),
        ("[[token]]\nmodule = \"/m.so\"\nlabel = \"a\"\n[[token]]\nmodule = \"/m.so\"\nlabel = \"a\"", "configured twice"),
        ("[[token]]\nmodule = \"/m.so\"\nlabel = \"a\"\n[[token]]\nmodul = \"/m.so\"", "unknown field `modul`"),
    ] {
        let error = with(tokens).unwrap_err().to_string();
        assert!(error.contains(message), "{tokens}: {error}");
    }
}

#[test]
fn keys_are_named_by_labels_or_by_uris() {
    let with = |keys: &str| {
        parse(&format!(
            "station = \"s\"\n[token]\nmodule = \"/m.so\"\nlabel = \"t\"\n[keys]\n{keys}\n[state]\ndirectory = \"/s\"\n[listen]\nunix = \"/a\"\n"
        ))
    };
    let config =
        with("train = [\"pkcs11:token=t;object=s;id=%01\"]\ngeneral = [\"g\"]\nraw_use = [\"pkcs11:object=s\"]").unwrap();
    assert_eq!((&config.keys.train[..], &config.keys.raw_use[..]), (&["s".to_owned()][..], &["s".to_owned()][..]));
    assert_eq!(config.key_uris["s"].id.as_deref(), Some(&[1][..]));
    for (keys, message) in [
        ("train = [\"pkcs11:token=other;object=s\"]", "names a token that is not configured"),
        ("general = [\"pkcs11:token=t\"]", "names no object"),
        ("general = [\"pkcs11:object=g?pin-value=1\"]", "pin-value is not accepted"),
        ("train = [\"s\"]\ngeneral = [\"pkcs11:object=s\"]", "is also a train key"),
    ] {
        let error = with(keys).unwrap_err().to_string();
        assert!(error.contains(message), "{keys}: {error}");
    }
}

#[test]
fn the_example_names_every_rule_that_can_be_switched() {
    let may_be_switched = |rule: &&Rule| matches!(rule.standing(), Enforcement::Strict | Enforcement::Optional);
    for rule in Rule::ALL.iter().filter(may_be_switched) {
        assert!(EXAMPLE.contains(rule.name()), "{}", rule.name());
    }
}

#[test]
fn the_trust_file_is_beside_the_configuration_unless_it_is_named() {
    let of = |file: &str| Config::parse(EXAMPLE, Path::new(file)).unwrap().trust.file.unwrap();
    assert_eq!(of("/etc/stationmaster/stationmaster.toml"), Path::new("/etc/stationmaster/trust.toml"));
    assert!(of("test.toml").is_absolute());
}

#[test]
fn rules_that_may_not_be_switched_are_refused_and_the_hint_names_those_that_may() {
    for (section, named, hint) in [
        ("relax", "creator-pined", "creator-pinned"),
        ("relax", "newest-link", "creator-pinned"),
        ("relax", "past-stops-excluded", "creator-pinned"),
        ("demand", "older-links", "past-stops-excluded"),
    ] {
        let error = replaced("[rules]", &format!("[rules]\n{section} = [{named:?}]")).unwrap_err();
        let ConfigError::Value { key, line, hint: told, .. } = &error else { panic!("{error}") };
        assert_eq!(*key, format!("rules.{section}"));
        assert!(*line > 1 && told.contains(hint), "{error}: {told}");
    }
    let config = replaced("[rules]", "[rules]\nrelax = [\"creator-pinned\"]\ndemand = [\"past-stops-excluded\"]").unwrap();
    use stationmaster_train::rule::Rule;
    assert!(!config.rules.set().holds(Rule::CreatorPinned) && config.rules.set().holds(Rule::PastStopsExcluded));
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let error = replaced("[token]", "[token]\npin = \"1234\"").unwrap_err();
    let ConfigError::Syntax { line, message, .. } = error else { panic!("{error}") };
    let at = EXAMPLE.lines().position(|line| line == "[token]").unwrap() + 2;
    assert_eq!(line, at);
    assert!(message.contains("pin"), "{message}");
}

#[test]
fn a_value_that_cannot_be_read_is_refused_with_its_key_and_the_form_that_is_expected() {
    let of_tcp =
        |address: &str| format!("[listen.tcp]\naddress = \"{address}\"\ncert = \"/c\"\nkey = \"/k\"\nclient_ca = \"/a\"\n");
    for address in ["127.0.0.1", "localhost:7443", "127.0.0.1:port", "0.0.0.0:70000", "::1:7443", ""] {
        let text = format!("{EXAMPLE}\n{}", of_tcp(address));
        let ConfigError::Syntax { line, message, .. } = Config::parse(&text, Path::new("s.toml")).unwrap_err() else {
            panic!("{address}")
        };
        assert_eq!(text.lines().nth(line - 1), Some(format!("address = \"{address}\"").as_str()));
        for part in ["listen.tcp.address", "127.0.0.1:7443", address] {
            assert!(message.contains(part), "{address}: {message}");
        }
    }
    Config::parse(&format!("{EXAMPLE}\n{}", of_tcp("[::1]:7443")), Path::new("s.toml")).unwrap();
    for (section, line, key) in
        [("\n[limits]\n", "runs = \"four\"", "limits.runs"), ("\n[limits]\n", "uploads = -1", "limits.uploads")]
    {
        let error = replaced(section, &format!("{section}{line}\n")).unwrap_err();
        let ConfigError::Syntax { message, .. } = error else { panic!("{error}") };
        assert!(message.starts_with(&format!("{key}: ")), "{message}");
    }
}

#[test]
fn a_station_id_that_train_lib_reads_as_a_number_is_refused_with_the_reason() {
    for id in ["1", "7", "0123", "1_000", " 7 ", "+7", "-7", "٣", "\u{2003}12"] {
        let error = replaced("station = \"station-1\"", &format!("station = '{id}'")).unwrap_err();
        let ConfigError::Value { key, message, hint, .. } = &error else { panic!("{error}") };
        assert_eq!(key, "station", "{id:?}");
        assert!(message.contains("train_lib"), "{message}: {hint}");
        // What is suggested is an id.
        match hint.split('`').nth(1) {
            Some(suggested) => {
                Config::check_station_id(suggested).unwrap_or_else(|flaw| panic!("{id:?}: {suggested:?}: {flaw:?}"))
            }
            None => assert!(!id.contains(|one: char| one.is_ascii_digit()), "{id:?}: {hint}"),
        }
        let plain = |one: char| one.is_ascii_alphanumeric() || one == '-';
        assert!(hint.split('`').nth(1).is_none_or(|suggested| suggested.chars().all(plain)), "{hint}");
    }
    for id in ["a", "station-1", "1a", "1.0", "1__0", "0x1", "true", "nan", "②"] {
        replaced("station = \"station-1\"", &format!("station = '{id}'")).unwrap();
    }
}

#[test]
fn values_that_cannot_be_used_are_refused_with_a_hint() {
    for (from, to, key) in [
        ("station = \"station-1\"", "station = \"\"", "station"),
        ("pin_file = ", "pin_env = \"PIN\"\npin_file = ", "token"),
        ("unix = \"/run", "unix = \"run", "listen.unix"),
        ("unix_mode = 0o660", "unix_mode = 0o666", "listen.unix_mode"),
        ("raw_use = []", "raw_use = [\"nobody\"]", "keys.raw_use"),
        ("[rules]", "[rules]\nopt_allow = [\"a/b\"]", "rules.opt_allow"),
        ("[trust]", "[trust]\nfile = \"trust.toml\"", "trust.file"),
        ("general = [\"station-1-general\"]", "general = [\"station-1\"]", "keys.general"),
        ("label = \"pht\"", "label = \"pht\"\nmodule_init_args = \"\"", "token.module_init_args"),
        ("label = \"pht\"", "label = \"pht\"\nmodule_init_args = \"configdir='\\u0000'\"", "token.module_init_args"),
    ] {
        let error = replaced(from, to).unwrap_err();
        let ConfigError::Value { key: found, line, hint, .. } = &error else { panic!("{error}") };
        assert_eq!(found, key);
        assert!(*line > 1 || key == "station", "{error}");
        assert!(!hint.is_empty());
    }
}

#[test]
fn a_tls_key_in_a_token_is_a_key_of_a_configured_token_that_has_no_other_purpose() {
    let with = |key: &str| {
        let text = format!(
            "station = \"s\"\n[keys]\ngeneral = [\"g\"]\n[[token]]\nmodule = \"/m.so\"\nlabel = \"a\"\n[[token]]\nmodule = \"/n.so\"\n\
             serial = \"2\"\n[state]\ndirectory = \"/s\"\n[listen.tcp]\naddress = \"[::1]:7443\"\ncert = \"/c\"\nkey = \"{key}\"\n\
             client_ca = \"/a\"\n"
        );
        parse(&text)
    };
    for (key, has) in [
        ("pkcs11:object=door", [true, true]),
        ("pkcs11:token=a;object=door;type=private", [true, false]),
        // As `key list` prints it: what the configuration does not name may be anything.
        ("pkcs11:token=x;manufacturer=m;serial=2;model=v;object=door;id=%01", [false, true]),
    ] {
        let config = with(key).unwrap();
        let uri = config.tls_key().unwrap();
        assert_eq!(uri.object.as_deref(), Some("door"));
        let may_have: Vec<_> = config.tokens.all().iter().map(|token| token.may_have(uri)).collect();
        assert_eq!(may_have, has, "{key}");
    }
    assert_eq!(with("/k").unwrap().tls_key(), None);
    for (key, words) in [
        ("k", "must be an absolute path"),
        ("pkcs11:token=a", "names no key"),
        ("pkcs11:object=", "names no key"),
        ("pkcs11:object=door?module-path=/m.so", "names a module or a PIN"),
        ("pkcs11:object=door?pin-source=file:/pin", "names a module or a PIN"),
        ("pkcs11:object=door?pin-value=1", "pin-value is not accepted"),
        ("pkcs11:token=b;object=door", "no token labelled \"b\" is configured"),
        ("pkcs11:object=s", "also configured as train key"),
        ("pkcs11:object=g", "also configured as general key"),
        ("pkcs11:object=audit", "also configured as audit key"),
    ] {
        let error = with(key).unwrap_err();
        assert!(error.to_string().contains(words) && !error.hint().is_empty(), "{key}: {error}");
    }
}
