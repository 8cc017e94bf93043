//! The interface itself: token, bodies, replies, the committed contract.
#![allow(clippy::unwrap_used)] // a panic fails the test

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use common::{Runner, TOKEN, as_every_user};
use serde_json::json;

#[test]
fn only_the_right_token_opens_v1() {
    let runner = Runner::start(None, &[]);
    let longer = format!("Bearer {TOKEN}x");
    for wrong in ["", "Bearer ", "Bearer x", TOKEN, &longer, &longer[..longer.len() - 2], "Basic Og=="] {
        for (method, route) in
            [("POST", "/v1/exec"), ("GET", "/v1/info"), ("GET", "/v1/files/x"), ("PUT", "/v1/archive")]
        {
            let reply = runner.call_with(wrong, method, route, b"{}");
            assert_eq!((reply.status, reply.code().as_str()), (401, "Unauthorized"), "{wrong:?} {route}");
        }
    }
    for open in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(runner.call_with("", "GET", open, b"").status, 200);
    }
}

#[test]
fn a_refused_request_is_read_first() {
    let runner = Runner::start(None, &[]);
    let mut stream = TcpStream::connect(runner.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut replies = BufReader::new(stream.try_clone().unwrap());
    // Head and body in two packets: a server that refuses at the head closes the connection under the body.
    for _ in 0..50 {
        stream.write_all(b"PUT /v1/archive HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n").unwrap();
        std::thread::yield_now();
        stream.write_all(b"{}").unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(replies.read_line(&mut head).unwrap(), 0, "the connection is closed after {head:?}");
        }
        assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
        replies.read_exact(&mut vec![0; length]).unwrap();
    }
}

#[test]
fn a_bad_request_says_what_is_wrong() {
    let runner = Runner::start(None, &[]);
    let bad = [
        json!({"argv": []}),
        json!({"argv": [""]}),
        json!({"argv": ["a\0b"]}),
        json!({"argv": "true"}),
        json!({"argv": ["true"], "unknown": 1}),
        json!({"argv": ["true"], "timeout_ms": 0}),
        json!({"argv": ["true"], "timeout_ms": u64::MAX}),
        json!({"argv": ["true"], "env": {"A=B": "c"}}),
        json!({"argv": ["true"], "stdin": "a", "stdin_base64": "YQ=="}),
        json!({"argv": ["true"], "stdin_base64": "?"}),
        json!({"argv": ["true"], "output_limit_bytes": 1_u64 << 40}),
        json!({"argv": ["true"], "limits": {"processes": 1_000_000}}),
        json!({"argv": ["x".repeat(2 << 20)]}),
    ];
    for request in bad {
        let reply = runner.post("/v1/exec", &request);
        assert_eq!((reply.status, reply.code().as_str()), (400, "BadRequest"), "{:.80}", request.to_string());
    }
    assert_eq!(runner.call("POST", "/v1/exec", b"{").code(), "BadRequest");
    assert_eq!(runner.call("POST", "/v1/exec", &vec![b' '; 33 << 20]).status, 413);
    assert_eq!(runner.post("/v1/exec", &json!({"argv": ["true"], "workspace": "../x"})).code(), "WorkspaceNotFound");
    assert_eq!(runner.call("GET", "/nowhere", b"").status, 404);
}

#[test]
fn a_command_gets_its_input_environment_and_directory() {
    as_every_user(|runner| {
        std::fs::create_dir(runner.path("workspace/sub")).unwrap();
        let reply = runner.exec(&json!({
            "argv": ["sh", "-c", "cat; echo \"$A $VISIBLE $RUNNER_SECRET\"; pwd; exit 3"],
            "stdin": "in\n", "env": {"A": "b"}, "cwd": "sub",
        }));
        let directory = runner.path("workspace/sub").canonicalize().unwrap();
        assert_eq!(reply["stdout"], format!("in\nb shown \n{}\n", directory.display()));
        assert_eq!(
            (&reply["reason"], &reply["exit_code"], &reply["signal"]),
            (&json!("NonZeroExit"), &json!(3), &json!(null))
        );
        let bytes = runner.exec(&json!({"argv": ["od", "-An", "-tx1"], "stdin_base64": "AP8="}));
        assert_eq!(bytes["stdout"], " 00 ff\n");
    });
}

#[test]
fn a_large_input_that_is_not_read_blocks_nothing() {
    let runner = Runner::start(None, &[]);
    let reply = runner.exec(&json!({"argv": ["true"], "stdin": "x".repeat(4 << 20)}));
    assert_eq!(reply["reason"], "Completed");
}

#[test]
fn what_cannot_start_is_told_apart_from_what_fails() {
    as_every_user(|runner| {
        std::fs::write(runner.path("workspace/plain"), "x").unwrap();
        for request in [
            json!({"argv": ["no-such-program"]}),
            json!({"argv": ["./plain"]}),
            json!({"argv": ["true"], "cwd": "absent"}),
        ] {
            let reply = runner.post("/v1/exec", &request);
            assert_eq!((reply.status, reply.code().as_str()), (422, "CannotStart"), "{request}");
        }
        let killed = runner.shell("kill -TERM $$");
        assert_eq!((&killed["reason"], &killed["signal"]), (&json!("Signaled"), &json!(15)));
    });
}

#[test]
fn the_trace_goes_on_into_the_command() {
    let runner = Runner::start(None, &[]);
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let told = |request: &serde_json::Value, headers: &[(&str, &str)]| {
        let reply = runner.send("POST", "/v1/exec", request.to_string().as_bytes(), headers);
        reply.json()["stdout"].as_str().unwrap().to_owned()
    };
    let mut request = json!({"argv": ["sh", "-c", "echo \"[$TRACEPARENT]\""]});
    assert_eq!(told(&request, &[]), "[]\n");
    assert_eq!(told(&request, &[("traceparent", trace)]), format!("[{trace}]\n"));
    request["env"] = json!({"TRACEPARENT": "its own"});
    assert_eq!(told(&request, &[("traceparent", trace)]), "[its own]\n");
}

#[test]
fn every_refusal_has_the_same_form_and_a_file_has_its_own_bound() {
    let runner = Runner::start(None, &["--max-transfer-bytes", "40000000"]);
    // More than a request in JSON may hold, less than a file.
    assert_eq!(runner.call("PUT", "/v1/files/large", &vec![b'x'; 36 << 20]).status, 204);
    assert_eq!(runner.call("GET", "/v1/files/large", b"").bytes.len(), 36 << 20);
    let refused = [
        runner.call("PUT", "/v1/files/larger", &vec![b'x'; 40_000_001]),
        runner.call("GET", "/v1/files/%ff", b""),
        runner.call("DELETE", "/v1/forks/%ff", b""),
        runner.call("GET", "/v1/files?limit=many", b""),
    ];
    let codes: Vec<_> = refused.iter().map(|reply| (reply.status, reply.code())).collect();
    let bad = (400, "BadRequest".to_owned());
    assert_eq!(codes, [(413, "TooLarge".to_owned()), bad.clone(), bad.clone(), bad]);
    assert!(!runner.path("workspace/larger").exists());
}

#[test]
fn single_files_wait_for_their_turn() {
    let runner = Runner::start(None, &["--max-concurrent", "1"]);
    runner.call("PUT", "/v1/files/f", b"content");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    assert_eq!(runner.call("GET", "/v1/files/f", b"").bytes, b"content");
                }
            });
        }
    });
}

#[test]
fn info_tells_the_isolation_that_commands_report() {
    as_every_user(|runner| {
        let info = runner.call("GET", "/v1/info", b"").json();
        assert_eq!(info["isolation"], runner.shell("true")["isolation"]);
        assert_eq!(info["network"], "none");
        assert!(info["uid"].is_u64() && info["max_concurrent"].is_u64());
    });
}

#[test]
fn the_committed_contract_is_what_the_code_says() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_env-runner")).arg("openapi").output().unwrap();
    let committed =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../contracts/http/env-runner.yaml")).unwrap();
    let exported = String::from_utf8(output.stdout).unwrap();
    assert!(exported == committed, "run `env-runner openapi > contracts/http/env-runner.yaml`");
}
