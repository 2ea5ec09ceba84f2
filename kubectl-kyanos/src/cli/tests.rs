//! The command line as users write it.

use std::ffi::OsString;
use std::path::Path;

use super::*;
use crate::failure::{Failure, USAGE};
use crate::written_down;

fn words(line: &str) -> Vec<OsString> {
    let mut words = vec![OsString::from("kubectl-kyanos")];
    let mut open = false;
    let mut word = String::new();
    for letter in line.chars() {
        match letter {
            '"' => open = !open,
            ' ' if !open => words.push(OsString::from(std::mem::take(&mut word))),
            other => word.push(other),
        }
    }
    words.push(OsString::from(word));
    words
}

fn refused(line: &str) -> Failure {
    match parse(words(line)) {
        Err(Outcome::Refused(failure)) => failure,
        other => unreachable!("`{line}` gave {other:?}"),
    }
}

fn filter_of(line: &str) -> Result<proto::v1::Filter, Failure> {
    match parse(words(line)) {
        Ok((Cli { command: Commands::Watch(args) }, matches)) => {
            filter::build(&args.capturing.filter, &args.capturing.place, args.protocol.as_deref(), &matches)
        }
        Ok(other) => unreachable!("{other:?}"),
        Err(Outcome::Refused(failure)) => Err(failure),
        Err(Outcome::Shown(text)) => unreachable!("{text}"),
    }
}

#[test]
fn the_definition_is_sound() {
    command().debug_assert();
}

#[test]
fn help_is_as_written_down() {
    let mut all = command().term_width(100);
    all.build();
    let mut pages = vec![("main".to_owned(), all.render_help().to_string())];
    for sub in all.get_subcommands_mut().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        let text = sub.clone().term_width(100).render_help().to_string();
        pages.push((sub.get_name().to_owned(), text));
    }
    for (page, text) in pages {
        let text = text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n") + "\n";
        written_down::must_be(&format!("../docs/help/{page}.txt"), &text);
    }
}

#[test]
fn every_example_in_help_parses() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/help");
    let mut examples = 0;
    let files = [folder.clone(), folder.join("local")].into_iter();
    let files = files.flat_map(|folder| std::fs::read_dir(folder).expect("help"));
    for entry in files.map(|entry| entry.expect("entry").path()) {
        if entry.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let text = std::fs::read_to_string(&entry).expect("text");
        for line in text.lines().filter_map(|line| line.trim().strip_prefix("kubectl kyanos ")) {
            let parsed = parse(words(line));
            let Ok((cli, matches)) = parsed else { unreachable!("`{line}` gave {parsed:?}") };
            if let Commands::Watch(args) = cli.command {
                filter::build(
                    &args.capturing.filter,
                    &args.capturing.place,
                    args.protocol.as_deref(),
                    &matches,
                )
                .expect(line);
            }
            examples += 1;
        }
    }
    assert!(examples >= 20, "only {examples} examples");
}

#[test]
fn what_comes_later_does_not_exist_yet() {
    let flags = [
        "-n=x",
        "-A",
        "--selector=x",
        "--workload=x",
        "--hub-image=x",
        "--trace-ssl-event",
        "--node=x",
        "--hub-replicas=2",
        "--apikeys=1",
        "--grpc-status=1",
    ];
    for flag in flags {
        assert_eq!(refused(&format!("watch --local {flag}")).exit, USAGE, "{flag}");
    }
    for line in ["watch kafka --local", "query -A"] {
        assert_eq!(refused(line).exit, USAGE, "{line}");
    }
}

#[test]
fn a_cluster_and_this_machine_exclude_each_other() {
    for flag in ["--kubeconfig x", "--context x", "--token x", "--as x", "--insecure-skip-tls-verify"] {
        for command in ["watch", "stat", "overview", "query", "status", "cleanup"] {
            let failure = refused(&format!("{command} --local {flag}"));
            assert_eq!(failure.exit, USAGE, "{command} {flag}");
            assert!(failure.what.contains("cannot be used with `--local`"), "{failure}");
            assert!(parse(words(&format!("{command} {flag}"))).is_ok(), "{command} {flag}");
        }
    }
    assert_eq!(refused("status --as-uid 1").exit, USAGE);
    assert_eq!(refused("status --client-key k").exit, USAGE);
}

#[test]
fn mistakes_get_suggestions() {
    let hints = [
        ("watch htp --local", "did you mean `http`?"),
        ("wach --local", "did you mean `watch`?"),
        ("watch --local --lateny 5", "did you mean `--latency`?"),
        ("watch --local --side cliet", "did you mean `client`?"),
        ("stat --local -m totl-time", "did you mean `total-time`?"),
        ("stat --local -g protcol", "did you mean `protocol`?"),
        ("watch --local --count", "run `kubectl kyanos watch --help`"),
        ("watch deploy web", "write kind and name as one word: `deploy/NAME`"),
        ("stat po", "write kind and name as one word: `po/NAME`"),
        ("watch http redis", "name one, or none for all"),
        ("watch deploy/a/b", "a workload is KIND/NAME, as in deploy/orders"),
    ];
    for (line, hint) in hints {
        let failure = refused(line);
        assert_eq!((failure.exit, failure.hint.as_deref()), (USAGE, Some(hint)), "{line}: {failure}");
    }
    let foreign = filter_of("watch redis --local --path /x").expect_err("a flag of http");
    assert_eq!(foreign.what, "`--path` does not test redis");
}

#[test]
fn protocol_and_workloads_are_words_in_any_order() {
    let read = |line: &str| match parse(words(line)) {
        Ok((Cli { command: Commands::Watch(args) }, _)) => (args.protocol, args.capturing.pods.workload),
        Ok((Cli { command: Commands::Stat(args) }, _)) => (args.protocol, args.capturing.pods.workload),
        Ok((Cli { command: Commands::Overview(args) }, _)) => (None, args.capturing.pods.workload),
        other => unreachable!("`{line}` gave {other:?}"),
    };
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let http = Some("http".to_owned());
    for (line, protocol, workloads) in [
        ("watch", None, owned(&[])),
        ("watch http", http.clone(), owned(&[])),
        ("watch deploy/web", None, owned(&["deploy/web"])),
        ("watch http deploy/web", http.clone(), owned(&["deploy/web"])),
        ("watch deploy/web http -n shop", http.clone(), owned(&["deploy/web"])),
        (
            "watch -n shop sts/db http deployments.apps/web",
            http.clone(),
            owned(&["sts/db", "deployments.apps/web"]),
        ),
        ("watch --workload ds/a,job/b deploy/web", None, owned(&["ds/a", "job/b", "deploy/web"])),
        ("stat http deploy/web --time 1", http, owned(&["deploy/web"])),
        ("overview deploy/web cj/night", None, owned(&["deploy/web", "cj/night"])),
    ] {
        assert_eq!(read(line), (protocol, workloads), "{line}");
    }
    for line in ["watch --local deploy/web", "stat --local http deploy/web", "overview --local po/a"] {
        let failure = refused(line);
        assert_eq!(failure.exit, USAGE, "{line}");
        assert!(failure.what.contains("--local") && failure.hint.is_some(), "{line}: {failure}");
    }
    let unknown = refused("watch webshop");
    assert!(unknown.hint.expect("a hint").contains("`deploy/webshop`"));
}

#[test]
fn what_only_a_starter_can_set_is_refused_when_joining() {
    let flags = [
        "--name a",
        "--keep",
        "--ttl 1h",
        "--timeout 5s",
        "--save a.sqlite",
        "--store sqlite:a",
        "--store-limit 1GiB",
        "--max-store-bytes 1KiB",
        "--sample 2",
        "--ring-size 64KiB",
        "--btf /a",
        "--redact=false",
        "--redact-header x",
        "--trace-dev-event=false",
        "--trace-socket-event",
        "--source syscall",
    ];
    for command in CAPTURING_COMMANDS {
        assert!(parse(words(&format!("{command} --local --session b"))).is_ok(), "{command}");
        for flag in flags {
            let failure = refused(&format!("{command} --local --session b {flag}"));
            assert_eq!(failure.exit, USAGE, "{command} {flag}");
            let name = flag.split(['=', ' ']).next().unwrap_or(flag);
            assert!(failure.what.contains(name), "{command} {flag}: {}", failure.what);
            assert!(failure.hint.is_some_and(|hint| hint.contains("starts the session")), "{command} {flag}");
        }
    }
}

#[test]
fn flags_of_the_original_without_use_are_told() {
    let parsed = parse(words("watch --local --max-records 10 --docker-address x"));
    let Ok((Cli { command: Commands::Watch(args) }, _)) = parsed else { unreachable!("{parsed:?}") };
    assert_eq!(filter::unused(&args.capturing.capture), ["--docker-address", "--max-records"]);
}

#[test]
fn values_that_cannot_be_are_refused() {
    let lines = [
        "watch --local --name Upper",
        "watch --local --ring-size 5000",
        "watch --local --ring-size 1KiB",
        "watch --local --count 0",
        "watch --local --time 0",
        "watch --local --time -1",
        "watch --local --pids x",
        "watch --local --latency x",
        "watch --local --sample 0",
        "watch --local --name a --session b",
        "stat --local -g a/b/c",
        "stat --local -o csv",
        "watch --local --keep --session b",
    ];
    for line in lines {
        assert_eq!(refused(line).exit, USAGE, "{line}");
    }
    for line in [
        "watch --local --path-regex (",
        "watch --local --remote-ips 10.0.0.0/33",
        "watch --local --local-ports 0",
        "watch --local --container-id xyz",
        "watch --local --pod-name a",
        "watch --local --container-name a",
        "watch http --local --status 1000",
        "watch http --local --status 200,5xy",
        "watch mysql --local --status 200",
        "watch --local --method GET --status 099",
    ] {
        assert_eq!(filter_of(line).expect_err(line).exit, USAGE, "{line}");
    }
}

#[test]
fn switches_take_a_value() {
    for (line, on) in [
        ("watch --local", false),
        ("watch --local --errors", true),
        ("watch --local --errors=true", true),
        ("watch --local --errors=false", false),
        ("watch --local --errors http", true),
    ] {
        use proto::v1::Errors;
        let which = if on { Errors::WithoutHandshake } else { Errors::Untested };
        assert_eq!(filter_of(line).expect(line).errors(), which, "{line}");
    }
    for line in ["watch --local --errors=all", "watch --errors=all http --local"] {
        assert_eq!(filter_of(line).expect(line).errors(), proto::v1::Errors::All, "{line}");
    }
    for line in ["watch --local --errors=some", "watch --local --errors=", "watch --local --errors=true,all"]
    {
        assert_eq!(refused(line).exit, USAGE, "{line}");
    }
    assert_eq!(refused("watch --local=maybe").exit, USAGE);
}

#[test]
fn what_is_traced_is_said_by_flags() {
    use proto::v1::{ByteSource, Tracing};
    let tracing = |line: &str| match parse(words(line)) {
        Ok((Cli { command: Commands::Watch(args) }, _)) => args.capturing.capture.trace.tracing(true),
        Ok((Cli { command: Commands::Stat(args) }, _)) => args.capturing.capture.trace.tracing(false),
        Ok((Cli { command: Commands::Overview(args) }, _)) => args.capturing.capture.trace.tracing(true),
        other => unreachable!("`{line}` gave {other:?}"),
    };
    let all = Tracing::default();
    let from = |source: ByteSource| Tracing { source: source.into(), ..all };
    for (line, expected) in [
        ("watch --local", all),
        ("watch -A --trace-dev-event", all),
        ("watch --local --trace-dev-event=true --trace-socket-event=false --source auto", all),
        ("watch --local --trace-dev-event=false", Tracing { without_packets: true, ..all }),
        ("stat --local", Tracing { without_packets: true, ..all }),
        ("stat --local --trace-dev-event", all),
        ("overview --trace-socket-event", Tracing { socket_hops: true, ..all }),
        ("watch --local --trace-socket-event=true http", Tracing { socket_hops: true, ..all }),
        ("watch --local --source socket", from(ByteSource::Socket)),
        ("overview --source=syscall", from(ByteSource::Syscall)),
    ] {
        assert_eq!(tracing(line), expected, "{line}");
    }
    for line in [
        "watch --local --trace-dev-event=maybe",
        "watch --local --trace-dev-event=",
        "watch --local --trace-socket-event=2",
        "watch --local --source",
        "watch --local --source kprobe",
        "query --source auto",
    ] {
        assert_eq!(refused(line).exit, USAGE, "{line}");
    }
    assert_eq!(refused("watch --local --source sockets").hint.as_deref(), Some("did you mean `socket`?"));
}

#[test]
fn a_file_is_asked_with_local_and_without() {
    for line in [
        "query --store sqlite:a.sqlite",
        "query --local --store sqlite:a.sqlite",
        "query --store sqlite:a.sqlite --local \"SELECT 1\"",
        "query --local --store sqlite:a.sqlite --report slow",
    ] {
        match parse(words(line)) {
            Ok((Cli { command: Commands::Query(args) }, _)) => {
                assert_eq!(args.store.as_deref(), Some("sqlite:a.sqlite"), "{line}");
            }
            other => unreachable!("`{line}` gave {other:?}"),
        }
    }
    assert_eq!(
        refused("query --store sqlite:a.sqlite --session x").exit,
        USAGE,
        "which of the two is meant?"
    );
}

#[test]
fn flags_become_the_filter() {
    let filter = filter_of(
        "watch http --local -p 1,2 --comm a --local-ports 80 --remote-ips 10.0.0.0/8,::1 --side server --latency 1.5 \
         --req-size 1KiB --status 5xx,404 --method GET,PUT --path-regex a{1,2}",
    )
    .expect("a filter");
    assert_eq!(
        (filter.protocols, filter.pids, filter.comms),
        (vec!["http".to_owned()], vec![1, 2], vec!["a".to_owned()])
    );
    assert_eq!((filter.min_total_ns, filter.min_request_bytes), (1_500_000, 1024));
    assert_eq!(filter.side, i32::from(proto::v1::Side::Server));
    assert_eq!(filter.statuses, ["5xx", "404"]);
    let values: Vec<(&str, Vec<String>)> =
        filter.fields.iter().map(|test| (test.field.as_str(), test.values.clone())).collect();
    let expected =
        [("method", vec!["GET".to_owned(), "PUT".to_owned()]), ("path", vec!["a{1,2}".to_owned()])];
    assert_eq!(values, expected);
}

#[test]
fn a_flag_of_several_protocols_tests_them_all() {
    let filter = filter_of("watch --local --command GET").expect("a filter");
    assert_eq!(filter.fields.len(), 1);
    assert!(filter.fields[0].protocols.len() >= 2);
    let narrowed = filter_of("watch redis --local --command GET").expect("a filter");
    assert_eq!(narrowed.fields[0].protocols, ["redis"]);
}

#[test]
fn protocols_that_share_a_flag_agree_on_it() {
    for protocol in decoders::registry() {
        for field in protocol.fields {
            for other in decoders::registry().iter().flat_map(|other| other.fields) {
                if other.flag == field.flag {
                    assert_eq!(
                        (other.name, other.comparison),
                        (field.name, field.comparison),
                        "--{}",
                        field.flag
                    );
                }
            }
        }
    }
}

#[test]
fn sizes_and_times_are_read() {
    assert_eq!(values::bytes("64KiB"), Ok(65536));
    assert_eq!(values::bytes("2g"), Ok(2 << 30));
    assert!(
        values::bytes("x").is_err() && values::bytes("1X").is_err() && values::bytes("99999999T").is_err()
    );
    assert_eq!(values::duration("1h30m"), Ok(std::time::Duration::from_mins(90)));
    assert!(values::duration("").is_err() && values::duration("1y").is_err());
    assert_eq!(values::seconds("0.5"), Ok(std::time::Duration::from_millis(500)));
}
