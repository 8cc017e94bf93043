//! Archives, files, search, forks and diffs, with hostile content.
#![allow(clippy::unwrap_used)] // a panic fails the test

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Runner, TOKEN, as_every_user, wait_until};
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

/// A command closes what is its own, and so ours: that must not fail a listing, a search, a diff or a fork.
#[test]
fn what_a_command_closed_is_read_all_the_same_and_stays_closed() {
    as_every_user(|runner| {
        let other = runner.fork("main");
        runner.shell("mkdir -p c/d; echo needle > c/d/f; echo needle > u; chmod 0 c/d u; chmod 600 c");
        let foreign = runner.path("workspace/foreign");
        fs::write(&foreign, "needle").unwrap();
        fs::set_permissions(&foreign, fs::Permissions::from_mode(0o600)).unwrap();
        let get = |route: &str| {
            let reply = runner.call("GET", route, b"");
            assert_eq!(reply.status, 200, "{route}: {}", String::from_utf8_lossy(&reply.bytes));
            reply.json()
        };
        let paths = |list: &serde_json::Value| {
            list.as_array().unwrap().iter().map(|one| one["path"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(paths(&get("/v1/files")["files"]), ["foreign", "u", "c/d/f"]);
        let found = paths(&get("/v1/search?pattern=needle")["matches"]);
        assert!(found.ends_with(&["u".to_owned(), "c/d/f".to_owned()]), "{found:?}");
        let diff = get(&format!("/v1/diff?from={other}&to=main"));
        assert_eq!(diff["files"], json!(["c/d/f", "foreign", "u"]));
        let fork = runner.fork("main");
        let script = "stat -c %a c u; chmod 700 c; stat -c %a c/d; chmod 700 c/d u; cat c/d/f u";
        for workspace in ["main", &fork] {
            let reply = runner.exec(&json!({"argv": ["sh", "-c", script], "workspace": workspace}));
            assert_eq!(reply["stdout"], "600\n0\n0\nneedle\nneedle\n", "{workspace}: {reply}");
        }
        runner.exec(&json!({"argv": ["chmod", "0", "."], "workspace": fork}));
        assert_eq!(paths(&get(&format!("/v1/files?workspace={fork}&glob=u"))["files"]), ["u"]);
    });
}

#[test]
fn a_tree_that_is_too_deep_or_too_large_is_told_alike_by_every_route() {
    let runner = Runner::start(None, &["--max-entries", "300"]);
    let fork = runner.fork("main");
    for make in
        ["import os\nfor _ in range(205): os.mkdir('d'); os.chdir('d')", "for n in range(301): open(f'f{n}','w')"]
    {
        let made = runner.python(make);
        assert_eq!(made["reason"], "Completed", "{made}");
        let diff = format!("/v1/diff?from={fork}&to=main");
        for (method, route) in
            [("GET", "/v1/files"), ("GET", "/v1/search?pattern=x"), ("GET", &diff), ("POST", "/v1/forks")]
        {
            let reply = runner.call(method, route, if method == "POST" { b"{}" } else { b"" });
            assert_eq!((reply.status, reply.code().as_str()), (413, "TooLarge"), "{route} {make}");
        }
        runner.shell("rm -rf ./*");
    }
}

#[test]
fn a_fork_costs_no_more_bytes_than_allowed_and_none_for_holes() {
    let runner = Runner::start(None, &["--max-fork-bytes", "1000000"]);
    runner.shell("truncate -s 6G sparse; printf middle | dd of=sparse bs=1 seek=3G conv=notrunc; printf whole > plain");
    let fork = runner.fork("main");
    let reply = runner.exec(&json!({
        "argv": ["sh", "-c", "stat -c %s sparse; dd if=sparse bs=1 skip=3G count=6; cat plain"], "workspace": fork,
    }));
    assert_eq!(reply["stdout"], format!("{}\nmiddlewhole", 6_u64 << 30), "{reply}");
    let copied = fs::metadata(runner.path("forks").join(&fork).join("sparse")).unwrap();
    assert!(std::os::unix::fs::MetadataExt::blocks(&copied) * 512 < 1 << 20);
    runner.shell("head -c 2000000 /dev/urandom > data");
    let before = fs::read_dir(runner.path("forks")).unwrap().count();
    let refused = runner.post("/v1/forks", &json!({}));
    assert_eq!((refused.status, refused.code().as_str()), (413, "TooLarge"));
    assert_eq!(fs::read_dir(runner.path("forks")).unwrap().count(), before);
}

#[test]
fn a_fork_waits_while_its_origin_is_replaced() {
    let runner = Runner::start(None, &[]);
    runner.shell("echo old > content");
    let request = |method: &str, route: &str, body: &[u8], sent: usize| {
        let mut stream = TcpStream::connect(runner.address()).unwrap();
        let head = format!(
            "{method} {route} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {TOKEN}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&body[..sent]).unwrap();
        stream
    };
    let archive = tar(&[(FILE, "content", "new"), (FILE, "more", &"x".repeat(1 << 20))]);
    let mut upload = request("PUT", "/v1/archive", &archive, 1 << 19);
    let unpacking = || fs::read_dir(runner.path("workspace")).unwrap().count() > 1;
    wait_until("the archive is being unpacked", unpacking);
    let mut fork = request("POST", "/v1/forks", b"{}", 2);
    fork.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let early = fork.peek(&mut [0]);
    assert!(early.is_err(), "the fork was answered while its origin was half there");
    upload.write_all(&archive[1 << 19..]).unwrap();
    fork.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut reply = String::new();
    fork.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 201"), "{reply}");
    let id = runner.call("GET", "/v1/forks", b"").json()["forks"][0]["id"].as_str().unwrap().to_owned();
    let listed = runner.exec(&json!({"argv": ["sh", "-c", "ls -A; cat content"], "workspace": id}));
    assert_eq!(listed["stdout"], "content\nmore\nnew", "{listed}");
}
