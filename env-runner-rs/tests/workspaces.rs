//! Archives, files, search, forks and diffs, with hostile content.
#![allow(clippy::unwrap_used)] // a panic fails the test

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};

use common::{Runner, as_every_user};
use flate2::{Compression, write::GzEncoder};
use serde_json::json;
use tar::{Builder, EntryType, Header};

/// A tar of (kind, path, link target or content); headers are written raw, as an attacker would.
fn tar(entries: &[(EntryType, &str, &str)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (kind, path, rest) in entries {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        let link = matches!(kind, EntryType::Symlink | EntryType::Link);
        if link {
            header.as_old_mut().linkname[..rest.len()].copy_from_slice(rest.as_bytes());
        }
        let content = if link { "" } else { rest };
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

const FILE: EntryType = EntryType::Regular;
const LINK: EntryType = EntryType::Symlink;
const HARD: EntryType = EntryType::Link;

#[test]
fn hostile_archives_are_refused_and_change_nothing() {
    as_every_user(|runner| {
        assert_eq!(runner.call("PUT", "/v1/archive", &tar(&[(FILE, "kept", "x")])).json()["files"], 1);
        let outside = runner.path("other").display().to_string();
        let escapes: Vec<Vec<(EntryType, &str, &str)>> = vec![
            vec![(FILE, "../x", "x")],
            vec![(FILE, "a/../../x", "x")],
            vec![(FILE, "/tmp/x", "x")],
            vec![(LINK, "l", &outside), (FILE, "l/x", "x")],
            vec![(LINK, "l", "../other")],
            vec![(LINK, "d/l", "../../other")],
            vec![(LINK, "l", "a/../..")],
            vec![(LINK, "l", "."), (FILE, "l/x", "x")],
            vec![(LINK, "l", "."), (LINK, "l/m", "../other")],
            vec![(HARD, "h", "/etc/passwd")],
            vec![(HARD, "h", "../token/token")],
        ];
        for entries in escapes {
            let reply = runner.call("PUT", "/v1/archive", &tar(&entries));
            assert_eq!((reply.status, reply.code().as_str()), (400, "ArchiveEscapes"), "{entries:?}");
        }
        let invalid = [EntryType::Char, EntryType::Block, EntryType::Fifo].map(|kind| tar(&[(kind, "d", "")]));
        let invalid = invalid.into_iter().chain([
            b"no tar".to_vec(),
            vec![0x1f, 0x8b, 1],
            vec![7; 2048],
            tar(&[(HARD, "h", "absent")]),
        ]);
        for archive in invalid {
            let reply = runner.call("PUT", "/v1/archive", &archive);
            assert_eq!((reply.status, reply.code().as_str()), (400, "ArchiveInvalid"));
        }
        assert_eq!(fs::read_dir(runner.path("workspace")).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(runner.path("workspace/kept")).unwrap(), "x");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    });
}

#[test]
fn archive_bombs_are_refused() {
    let runner = Runner::start(None, &["--max-archive-bytes", "1000000", "--max-entries", "50"]);
    let gzip = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let zeros = "\0".repeat(20 << 20);
    let many: Vec<String> = (0..60).map(|number| format!("f{number}")).collect();
    let many: Vec<_> = many.iter().map(|name| (FILE, name.as_str(), "")).collect();
    let long_name = tar(&[(EntryType::GNULongName, "././@LongLink", &zeros), (FILE, "x", "")]);
    for bomb in [gzip(&tar(&[(FILE, "big", &zeros)])), tar(&many), gzip(&long_name)] {
        let reply = runner.call("PUT", "/v1/archive", &bomb);
        assert_eq!((reply.status, reply.code().as_str()), (413, "ArchiveTooLarge"));
    }
    assert_eq!(fs::read_dir(runner.path("workspace")).unwrap().count(), 0);
}

#[test]
fn an_archive_replaces_everything_even_what_a_command_locked() {
    as_every_user(|runner| {
        runner.shell("mkdir -p a/b/c; touch a/b/c/f; ln -s / root; chmod 0 a/b; mkfifo pipe");
        let archive = tar(&[
            (EntryType::Directory, "./", ""),
            (FILE, "./new/f", "hello"),
            (LINK, "l", "new/f"),
            (HARD, "h", "new/f"),
        ]);
        assert_eq!(runner.call("PUT", "/v1/archive", &archive).json(), json!({"files": 3, "bytes": 5}));
        assert_eq!(runner.shell("cat l h; ls -A")["stdout"], "hellohelloh\nl\nnew\n");
    });
}

#[test]
fn file_routes_stay_inside() {
    as_every_user(|runner| {
        fs::write(runner.path("other/secret"), "secret").unwrap();
        symlink(runner.path("other"), runner.path("workspace/out")).unwrap();
        symlink(runner.path("other/secret"), runner.path("workspace/alias")).unwrap();
        runner.shell("mkfifo pipe; mkdir dir");
        for path in ["out/secret", "alias", "pipe", "dir", "absent", "%2e%2e/other/secret"] {
            let status = runner.call("GET", &format!("/v1/files/{path}"), b"").status;
            assert!(status == 404 || status == 400, "{path}: {status}");
        }
        for path in ["out/new", "out/secret", "dir", "pipe"] {
            let status = runner.call("PUT", &format!("/v1/files/{path}"), b"x").status;
            assert_eq!(status, 400, "{path}");
        }
        assert_eq!(runner.call("PUT", "/v1/files/alias", b"mine").status, 204, "the link is replaced, not followed");
        assert_eq!(runner.call("DELETE", "/v1/files/out", b"").status, 204);
        assert_eq!(fs::read_to_string(runner.path("other/secret")).unwrap(), "secret");
        assert_eq!(runner.call("GET", "/v1/search?pattern=secret", b"").json()["matches"], json!([]));
    });
}

#[test]
fn files_are_written_whole_and_keep_their_mode() {
    as_every_user(|runner| {
        runner.shell("mkdir s; echo one > s/run; chmod 755 s/run; ln -s run s/link");
        assert_eq!(runner.call("PUT", "/v1/files/s/link", b"two\n").status, 204);
        assert_eq!(runner.call("GET", "/v1/files/s/run", b"").bytes, b"two\n");
        assert_eq!(fs::metadata(runner.path("workspace/s/run")).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(runner.call("PUT", "/v1/files/deep/er/f", b"\xff\0").status, 204);
        let list = runner.call("GET", "/v1/files?glob=**/f", b"").json();
        assert_eq!(list, json!({"files": [{"path": "deep/er/f", "bytes": 2, "mode": "0644"}], "truncated": false}));
        assert_eq!(runner.call("GET", "/v1/files?limit=1", b"").json()["truncated"], true);
        let found = runner.call("GET", "/v1/search?pattern=^t.o$&glob=s/*", b"").json();
        assert_eq!(found["matches"], json!([{"path": "s/run", "line": 1, "text": "two"}]));
        assert_eq!(runner.call("GET", "/v1/search?pattern=(", b"").code(), "BadRequest");
        assert_eq!(runner.call("DELETE", "/v1/files/deep", b"").status, 204);
        assert_eq!(runner.call("DELETE", "/v1/files/deep", b"").code(), "FileNotFound");
    });
}

#[test]
fn reading_while_a_command_swaps_links_never_shows_the_outside() {
    as_every_user(|runner| {
        fs::write(runner.path("other/f"), "outside").unwrap();
        let script = format!(
            "mkdir real; echo inside > real/f; i=0; while [ $i -lt 3000 ]; do ln -sfn real d 2>/dev/null; ln -sfn {} d; i=$((i+1)); done",
            runner.path("other").display()
        );
        std::thread::scope(|scope| {
            let command = scope.spawn(|| runner.shell(&script));
            while !command.is_finished() {
                let reply = runner.call("GET", "/v1/files/d/f", b"");
                assert!(reply.status != 200 || reply.bytes == b"inside\n");
                assert!(
                    !String::from_utf8_lossy(&runner.call("GET", "/v1/search?pattern=outside", b"").bytes)
                        .contains("other")
                );
            }
        });
    });
}

#[test]
fn a_fork_is_independent_and_a_reset_is_exact() {
    as_every_user(|runner| {
        runner.shell(
            "mkdir -p a/b; echo one > a/f; echo two > a/b/g; ln -s f a/l; chmod 750 a/b; echo x > exe; chmod 755 exe",
        );
        let fork = runner.fork("main");
        let state = "find . -printf '%P %m %y %l %s\\n' | sort; cat a/f a/b/g exe";
        let run = |workspace: &str, script: &str| {
            runner.exec(&json!({"argv": ["sh", "-c", script], "workspace": workspace}))["stdout"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        let original = run(&fork, state);
        assert_eq!(original, run("main", state));
        run("main", "echo changed > a/f; rm exe");
        let hostile = "echo evil > a/f; touch -d @0 a/f; rm -r a/b; echo x > a/b; ln -sfn /etc a/l; mkdir -p n/m; touch n/m/o; \
                       chmod 600 exe; mkfifo p; mv exe exe2; mkdir locked; touch locked/f; chmod 0 locked";
        for script in [
            hostile,
            "rm -rf ./* ",
            "true",
            "chmod 0 a",
            "printf two > a/f",
            "d=.; while mkdir $d/x 2>/dev/null && [ ${#d} -lt 1000 ]; do d=$d/x; done",
        ] {
            run(&fork, script);
            assert_eq!(runner.call("POST", &format!("/v1/forks/{fork}/reset"), b"").status, 204, "{script}");
            assert_eq!(run(&fork, state), original, "{script}");
        }
        let second = runner.fork(&fork);
        assert_eq!(run(&second, state), original);
        assert_eq!(runner.call("DELETE", &format!("/v1/forks/{fork}"), b"").status, 204);
        assert_eq!(runner.call("DELETE", &format!("/v1/forks/{fork}"), b"").code(), "WorkspaceNotFound");
        assert_eq!(run(&second, state), original);
        assert_eq!(runner.call("GET", "/v1/forks", b"").json()["forks"].as_array().unwrap().len(), 1);
        assert_eq!(runner.call("DELETE", "/v1/forks/main", b"").code(), "BadRequest");
    });
}

#[test]
fn a_patch_applies_with_git() {
    let runner = Runner::start(None, &[]);
    runner.shell("mkdir d; seq 1 50 > d/n; printf 'no newline' > e; echo gone > g; echo m > mode; ln -s e l; printf 'a\\000' > bin; echo q > 'sp ace'");
    let fork = runner.fork("main");
    let script = "sed -i 's/^25$/changed/' d/n; printf 'no newline at all' > e; rm g; chmod 755 mode; ln -sfn g l; echo new > 'd/new'; \
                  touch empty; echo r > 'sp ace'; mkdir __pycache__; touch __pycache__/x.pyc";
    runner.exec(&json!({"argv": ["sh", "-c", script], "workspace": fork}));
    let diff = runner.call("GET", &format!("/v1/diff?from=main&to={fork}"), b"").json();
    assert_eq!(diff["files"], json!(["d/n", "d/new", "e", "empty", "g", "l", "mode", "sp ace"]));
    let mut git = Command::new("git")
        .args(["apply", "-"])
        .current_dir(runner.path("workspace"))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    git.stdin.take().unwrap().write_all(diff["patch"].as_str().unwrap().as_bytes()).unwrap();
    assert!(git.wait().unwrap().success(), "{}", diff["patch"]);
    let after = runner.call("GET", &format!("/v1/diff?from=main&to={fork}"), b"").json();
    assert_eq!(after["files"], json!([]), "{after}");
    runner.exec(&json!({"argv": ["sh", "-c", "printf 'b\\000' > bin"], "workspace": fork}));
    let binary = runner.call("GET", &format!("/v1/diff?from=main&to={fork}"), b"").json();
    assert_eq!(binary["patch"], "diff --git a/bin b/bin\nBinary files a/bin and b/bin differ\n");
}

#[test]
fn forks_are_bounded() {
    let runner = Runner::start(None, &["--max-forks", "2"]);
    let (_one, _two) = (runner.fork("main"), runner.fork("main"));
    assert_eq!(runner.post("/v1/forks", &json!({})).status, 429);
}
