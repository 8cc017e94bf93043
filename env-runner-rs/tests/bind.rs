//! A warm runner: nothing starts before it is bound, then every command has what was bound and no more.
#![allow(clippy::unwrap_used)] // a panic fails the test

mod common;

use common::{Reply, Runner, command, home_for, users};
use serde_json::{Value, json};

const SOCKET: &str = "import socket\n\
    try: socket.socket(socket.AF_INET, socket.SOCK_STREAM); print('open')\n\
    except PermissionError: print('refused')";

fn warm_runners() -> impl Iterator<Item = Runner> {
    users().into_iter().map(|user| Runner::start(user, &["--bindable"]))
}

fn bind(runner: &Runner, variables: &[(&str, &str)], network: &str) -> Reply {
    let variables: Vec<Value> = variables.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    let body = json!({"variables": variables, "network": network});
    runner.call("PUT", "/v1/environment", body.to_string().as_bytes())
}

fn refusal(reply: &Reply) -> (u16, String) {
    (reply.status, reply.code())
}

#[test]
fn no_command_starts_before_the_bind() {
    for runner in warm_runners() {
        for network in [false, true] {
            let request = json!({"argv": ["touch", "started"], "network": network});
            assert_eq!(refusal(&runner.post("/v1/exec", &request)), (503, "NotBound".to_owned()));
        }
        assert!(!runner.path("workspace/started").exists());
        assert_eq!(runner.call("GET", "/readyz", b"").status, 200);
        let info = runner.call("GET", "/v1/info", b"").json();
        assert_eq!(info["network"], "none");
        assert!(!info["isolation"].as_array().unwrap().is_empty());
    }
}

#[test]
fn commands_have_what_was_bound_over_what_the_runner_has() {
    for runner in warm_runners() {
        let variables = [
            ("A", "first"),
            ("A", "second $(B) \"quoted\"\nline"),
            ("VISIBLE", "bound"),
            ("RUNNER_SECRET", "bound"),
            ("DSPY_AGENT_X", "bound"),
            ("LD_AUDIT", "/nowhere.so"),
            ("TMPDIR", "/nowhere"),
            ("with.dots-and-dashes", "kept"),
        ];
        assert_eq!(bind(&runner, &variables, "none").status, 204);
        let all = runner.python("import os, json; print(json.dumps(dict(os.environ)))");
        let seen: Value = serde_json::from_str(all["stdout"].as_str().unwrap()).unwrap();
        assert_eq!(seen["A"], "second $(B) \"quoted\"\nline");
        assert_eq!(seen["VISIBLE"], "bound");
        assert_eq!(seen["LD_AUDIT"], "/nowhere.so");
        assert_eq!(seen["with.dots-and-dashes"], "kept");
        assert_ne!(seen["TMPDIR"], "/nowhere");
        assert!(seen.get("RUNNER_SECRET").is_none() && seen.get("DSPY_AGENT_X").is_none(), "{seen}");
        // What a request names itself wins over both.
        let own = runner.exec(&json!({"argv": ["sh", "-c", "echo $A $VISIBLE"], "env": {"A": "own"}}));
        assert_eq!(own["stdout"], "own bound\n");
    }
}

#[test]
fn the_network_is_open_only_where_the_binding_says_so() {
    for (network, plain, asking) in [("none", "refused\n", None), ("allow", "refused\n", Some("open\n"))] {
        for runner in warm_runners() {
            assert_eq!(bind(&runner, &[], network).status, 204);
            assert_eq!(runner.call("GET", "/v1/info", b"").json()["network"], network);
            assert_eq!(runner.python(SOCKET)["stdout"], plain);
            let reply = runner.post("/v1/exec", &json!({"argv": ["python3", "-c", SOCKET], "network": true}));
            match asking {
                Some(told) => assert_eq!(reply.json()["stdout"], told),
                None => assert_eq!(refusal(&reply), (403, "NetworkNotAllowed".to_owned())),
            }
        }
    }
}

#[test]
fn it_is_bound_once_until_it_starts_anew() {
    let mut runner = Runner::start(None, &["--bindable"]);
    let held = [("A", "1"), ("B", "2")];
    assert_eq!(bind(&runner, &held, "none").status, 204);
    assert_eq!(bind(&runner, &[("B", "2"), ("A", "0"), ("A", "1")], "none").status, 204, "the same in other words");
    for (variables, network) in [(&[("A", "2")][..], "none"), (&held, "allow"), (&[], "none")] {
        assert_eq!(refusal(&bind(&runner, variables, network)), (409, "BoundToAnother".to_owned()));
    }
    assert_eq!(runner.shell("echo $A$B")["stdout"], "12\n");
    runner.start_again(&["--bindable"]);
    assert_eq!(refusal(&runner.post("/v1/exec", &json!({"argv": ["true"]}))), (503, "NotBound".to_owned()));
    assert_eq!(bind(&runner, &[("A", "2")], "allow").status, 204);
    assert_eq!(runner.shell("echo $A$B")["stdout"], "2\n");
}

#[test]
fn a_bad_binding_is_refused_and_binds_nothing() {
    let runner = Runner::start(None, &["--bindable"]);
    let large = "x".repeat((1 << 20) + 1);
    for (name, value) in [("", "v"), ("A=B", "v"), ("A\0", "v"), ("A", "v\0"), ("A", large.as_str())] {
        assert_eq!(refusal(&bind(&runner, &[(name, value)], "none")), (400, "BadRequest".to_owned()));
    }
    for body in ["{}", "{\"variables\": []}", "{\"variables\": [], \"network\": \"some\"}"] {
        assert_eq!(runner.call("PUT", "/v1/environment", body.as_bytes()).code(), "BadRequest");
    }
    let unknown = runner.call_with("Bearer x", "PUT", "/v1/environment", b"{}");
    assert_eq!(refusal(&unknown), (401, "Unauthorized".to_owned()));
    assert_eq!(bind(&runner, &[("A", "1")], "none").status, 204);
}

#[test]
fn only_a_bindable_runner_is_bound() {
    let runner = Runner::start(None, &[]);
    assert_eq!(refusal(&bind(&runner, &[("A", "1")], "allow")), (404, "NotBindable".to_owned()));
    assert_eq!(runner.shell("echo \"[$A]\"")["stdout"], "[]\n");
}

#[test]
fn bindable_and_an_open_network_exclude_each_other() {
    let home = home_for(None);
    let mut serve = command(home.path(), None);
    serve.args(["serve", "--listen", "127.0.0.1:0", "--bindable", "--network", "allow"]);
    for (flag, name) in [("--token-file", "token/token"), ("--workspace", "workspace"), ("--forks-dir", "forks")] {
        serve.arg(flag).arg(home.path().join(name));
    }
    let ended = serve.output().unwrap();
    assert!(!ended.status.success());
    assert!(String::from_utf8_lossy(&ended.stderr).contains("--network (RUNNER_NETWORK) must be none with --bindable"));
}
