//! What clients ask when they connect, and RESP3.

use super::*;

fn error(text: &str) -> Reply {
    Reply::Error(text.to_owned())
}

/// What `HELLO` says of a connection, as keys and values.
fn hello(protocol: i64, id: i64) -> Vec<Reply> {
    let version = env!("CARGO_PKG_VERSION");
    vec![
        bulk("server"),
        bulk("kho-store"),
        bulk("version"),
        bulk(version),
        bulk("proto"),
        Reply::Integer(protocol),
        bulk("id"),
        Reply::Integer(id),
        bulk("mode"),
        bulk("standalone"),
        bulk("role"),
        bulk("master"),
        bulk("modules"),
        Reply::Array(vec![]),
    ]
}

#[test]
fn hello_chooses_the_protocol() {
    let store = Store::start(&[]);
    let mut client = store.connect();
    assert_eq!(client.ask("HELLO"), Reply::Array(hello(2, 1)));
    assert_eq!(client.ask("GET a"), Reply::Null);
    for (text, wanted) in [
        ("HELLO 4", error("NOPROTO unsupported protocol version")),
        ("HELLO 1", error("NOPROTO unsupported protocol version")),
        (
            "HELLO x",
            error("ERR Protocol version is not an integer or out of range"),
        ),
        ("HELLO 3 x", error("ERR Syntax error in HELLO option 'x'")),
        (
            "HELLO 3 SETNAME",
            error("ERR Syntax error in HELLO option 'SETNAME'"),
        ),
        (
            "HELLO 3 AUTH me secret SETNAME b",
            error("WRONGPASS invalid username-password pair or user is disabled."),
        ),
    ] {
        assert_eq!(client.ask(text), wanted, "{text}");
    }
    // None of these changed anything.
    assert_eq!(client.ask("HELLO"), Reply::Array(hello(2, 1)));
    assert_eq!(client.ask("CLIENT GETNAME"), Reply::Null);
    let chosen = client.ask("hello 3 auth default secret setname me");
    assert_eq!(chosen, Reply::Map(hello(3, 1)));
    assert_eq!(client.ask("CLIENT GETNAME"), bulk("me"));
    assert_eq!(client.ask("HELLO 2"), Reply::Array(hello(2, 1)));

    // As bytes: what is not there, in each version.
    let mut client = store.connect();
    client.send(b"GET a\r\nHELLO 3\r\nGET a\r\nMGET a b\r\nRESET\r\nMGET a\r\nQUIT\r\n");
    let mut bytes = Vec::new();
    client.input.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.starts_with("$-1\r\n%7\r\n$6\r\nserver\r\n"), "{text}");
    let end = "*0\r\n_\r\n*2\r\n_\r\n_\r\n+RESET\r\n*1\r\n$-1\r\n+OK\r\n";
    assert!(text.ends_with(end), "{text}");
}

#[test]
fn what_clients_open_with_is_answered() {
    let store = Store::start(&[]);
    let mut client = store.connect();
    assert_eq!(client.ask("HELLO 3"), Reply::Map(hello(3, 1)));
    let ok_texts = [
        "CLIENT SETINFO LIB-NAME redis-py",
        "CLIENT SETINFO lib-ver 8.1.0",
        "CLIENT SETNAME one",
        "CLIENT NO-EVICT on",
        "CLIENT NO-TOUCH off",
        "CLIENT TRACKING off",
        "CLIENT REPLY ON",
        "SELECT 0",
        "AUTH default any",
    ];
    for text in ok_texts {
        assert_eq!(client.ask(text), ok(), "{text}");
    }
    for (text, wanted) in [
        ("CLIENT ID", Reply::Integer(1)),
        ("CLIENT GETREDIR", Reply::Integer(-1)),
        ("SELECT 1", error("ERR DB index is out of range")),
        (
            "SELECT x",
            error("ERR value is not an integer or out of range"),
        ),
        (
            "CLIENT MAINT_NOTIFICATIONS ON",
            error("ERR unknown subcommand 'MAINT_NOTIFICATIONS'"),
        ),
        (
            "CLIENT TRACKING ON",
            error("ERR this server tracks no keys"),
        ),
        ("CLIENT SETINFO x y", error("ERR Unrecognized option 'x'")),
        ("CLIENT NO-EVICT", error("ERR syntax error")),
        (
            "CLIENT",
            error("ERR wrong number of arguments for 'client' command"),
        ),
        (
            "CONFIG GET save appendonly",
            Reply::Map(["save", "", "appendonly", "no"].map(bulk).to_vec()),
        ),
        ("CONFIG GET nothing", Reply::Map(vec![])),
        ("CONFIG SET save x", error("ERR unknown subcommand 'SET'")),
        ("COMMAND INFO nothing", Reply::Array(vec![Reply::Null])),
    ] {
        assert_eq!(client.ask(text), wanted, "{text}");
    }
    client.send(&request(&[b"CLIENT", b"SETNAME", b"a b"]));
    assert!(matches!(client.reply(), Reply::Error(text) if text.contains("cannot contain spaces")));
    let own = client.stream.local_addr().unwrap();
    let line = format!("id=1 addr={own} name=one db=0 resp=3 lib-name=redis-py lib-ver=8.1.0\n");
    assert_eq!(client.ask("CLIENT INFO"), Reply::Verbatim(line.clone()));

    let mut other = store.connect();
    let Reply::Bulk(listed) = other.ask("CLIENT LIST") else {
        panic!("another answer")
    };
    let listed = String::from_utf8(listed).unwrap();
    assert!(
        listed.starts_with(&line) && listed.lines().count() == 2,
        "{listed}"
    );
    assert_eq!(other.ask("CLIENT LIST ID 1 7"), bulk(&line));

    let Reply::Integer(count) = client.ask("COMMAND COUNT") else {
        panic!("another answer")
    };
    let all = [client.ask("COMMAND"), client.ask("COMMAND LIST")];
    for all in all {
        assert!(matches!(all, Reply::Array(all) if all.len() as i64 == count));
    }
    let Reply::Map(docs) = client.ask("COMMAND DOCS") else {
        panic!("another answer")
    };
    assert_eq!(docs.len() as i64, 2 * count);
    let Reply::Verbatim(info) = client.ask("INFO") else {
        panic!("another answer")
    };
    assert!(info.contains("connected_clients:2\r\n"), "{info}");
    // Who is gone is not listed.
    drop(client);
    let start = Instant::now();
    while matches!(other.ask("CLIENT LIST"), Reply::Bulk(listed) if listed.starts_with(b"id=1 ")) {
        assert!(start.elapsed() < LONG, "it is listed still");
    }
}

#[test]
fn a_connection_keeps_its_protocol_and_its_names_over_an_upgrade() {
    let store = Store::start(&[]);
    let (mut two, mut three) = (store.connect(), store.connect());
    assert_eq!(two.ask("CLIENT SETNAME two"), ok());
    assert_eq!(three.ask("HELLO 3 SETNAME three"), Reply::Map(hello(3, 2)));
    assert_eq!(three.ask("CLIENT SETINFO LIB-NAME lib"), ok());
    let listed = |client: &mut Client| match client.ask("CLIENT LIST") {
        Reply::Bulk(bytes) => String::from_utf8(bytes).unwrap(),
        Reply::Verbatim(text) => text,
        other => panic!("{other:?}"),
    };
    let before = listed(&mut two);
    for count in 1..=3 {
        assert_eq!(three.ask("UPGRADE"), ok());
        assert_eq!(three.ask("UPGRADES"), Reply::Integer(count));
        assert_eq!(three.ask("HELLO"), Reply::Map(hello(3, 2)));
        assert_eq!(two.ask("HELLO"), Reply::Array(hello(2, 1)));
        assert_eq!(
            [listed(&mut two), listed(&mut three)],
            [before.clone(), before.clone()]
        );
    }
    // A new connection is a new one.
    let mut new = store.connect();
    assert_eq!(new.ask("HELLO"), Reply::Array(hello(2, 3)));
}

#[test]
fn redis_cli_speaks_both() {
    let store = Store::start(&[]);
    let port = store.port.to_string();
    for version in ["-2", "-3"] {
        let mut cli = Command::new("redis-cli");
        cli.args(["-p", &port, version, "MGET", "a", "b"]);
        // Where it is installed.
        let Ok(done) = cli.output() else { return };
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
        assert_eq!(said, "\n\n", "{version}");
    }
}
