//! Workspaces held by content: uploads, bounds, and forks that no command shares with another.
#![allow(clippy::unwrap_used)] // a panic fails the test

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use common::{Runner, TOKEN, as_every_user, users, wait_until};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// A tar of files by (path, content); names are written raw, as an attacker would.
fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn route(sha256: &str) -> String {
    format!("/v1/workspaces/{sha256}")
}

/// Uploads an archive that must be taken; returns its name.
fn upload(runner: &Runner, archive: &[u8]) -> String {
    let name = sha256(archive);
    let reply = runner.call("PUT", &route(&name), archive);
    assert_eq!(reply.status, 201, "{}", String::from_utf8_lossy(&reply.bytes));
    name
}

fn shell(workspace: &str, script: &str) -> Value {
    json!({"argv": ["sh", "-c", script], "workspace": workspace, "timeout_ms": 30_000})
}

fn held(runner: &Runner) -> Vec<String> {
    let list = runner.call("GET", "/v1/workspaces", b"").json();
    list["workspaces"].as_array().unwrap().iter().map(|one| one["sha256"].as_str().unwrap().to_owned()).collect()
}

/// Names in the directory of forks that begin with `prefix`: `w-` whole, `u-` arriving, `c-` forks.
fn on_disk(runner: &Runner, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(runner.path("forks")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(prefix)).collect()
}

fn wait_until_idle(runner: &Runner, name: &str) {
    wait_until("all forks are cleaned up", || runner.call("GET", &route(name), b"").json()["forks_in_use"] == 0);
}

/// A request of which only the first `sent` bytes of the body have gone.
fn begin(runner: &Runner, method: &str, route: &str, body: &[u8], sent: usize) -> TcpStream {
    let mut stream = TcpStream::connect(runner.address()).unwrap();
    let head = format!(
        "{method} {route} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {TOKEN}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&body[..sent]).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

fn reply_of(mut stream: TcpStream) -> String {
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply
}

#[test]
fn a_workspace_is_uploaded_once_and_named_by_its_hash() {
    as_every_user(|runner| {
        let archive = gzip(&tar(&[("d/f", "content"), ("g", "")]));
        let name = sha256(&archive);
        let refused = runner.post("/v1/exec", &shell(&name, "true"));
        assert_eq!((refused.status, refused.code().as_str()), (404, "WorkspaceUnknown"));
        assert_eq!(runner.call("HEAD", &route(&name), b"").status, 404);
        assert_eq!(upload(runner, &archive), name);
        assert_eq!(runner.call("HEAD", &route(&name), b"").status, 200);
        let workspace = runner.call("GET", &route(&name), b"").json();
        assert_eq!((&workspace["sha256"], &workspace["entries"]), (&json!(name), &json!(3)));
        // The root, a directory and two files, one of them empty.
        assert_eq!(workspace["bytes"], 4 * 4096);
        let reply = runner.exec(&shell(&name, "cat d/f; echo other > d/f; touch new"));
        assert_eq!(reply["stdout"], "content", "{reply}");
        assert_eq!(runner.shell("ls -A")["stdout"], "", "the main workspace is another one");
        assert_eq!(held(runner), std::slice::from_ref(&name));
        wait_until_idle(runner, &name);
        assert_eq!(runner.call("DELETE", &route(&name), b"").status, 204);
        assert_eq!(runner.call("DELETE", &route(&name), b"").code(), "WorkspaceUnknown");
        assert!(on_disk(runner, "w-").is_empty() && on_disk(runner, "c-").is_empty());
        for odd in [&name[1..], &name.to_uppercase(), "main"] {
            assert_eq!(runner.call("PUT", &route(odd), &archive).code(), "BadRequest", "{odd}");
        }
    });
}

#[test]
fn one_that_is_held_is_not_read_again() {
    let runner = Runner::start(None, &[]);
    let archive = tar(&[("f", &"x".repeat(1 << 20))]);
    let name = upload(&runner, &archive);
    let another = tar(&[("f", &"y".repeat(1 << 20))]);
    let _slow = begin(&runner, "PUT", &route(&sha256(&another)), &another, 1 << 19);
    wait_until("another upload has its turn", || on_disk(&runner, "u-").len() == 1);
    let silent = begin(&runner, "PUT", &route(&name), &archive, 0);
    let mut head = [0; 12];
    (&silent).read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200", "answered with nothing of the body sent");
    let again = runner.call("PUT", &route(&name), &archive);
    assert_eq!((again.status, &again.json()["sha256"]), (200, &json!(name)));
}

#[test]
fn what_is_not_the_archive_that_was_named_is_refused_and_leaves_nothing() {
    as_every_user(|runner| {
        let archive = gzip(&tar(&[("f", &"content".repeat(10_000))]));
        let cut = &archive[..archive.len() / 2];
        let escape = tar(&[("ok", "x"), ("../out", "x")]);
        let cases: [(&[u8], String, &str); 6] = [
            (&archive, sha256(b"another"), "DigestMismatch"),
            (cut, sha256(&archive), "DigestMismatch"),
            (cut, sha256(cut), "ArchiveInvalid"),
            (&escape, sha256(&escape), "ArchiveEscapes"),
            (&escape, sha256(b"another"), "DigestMismatch"),
            (b"no tar", sha256(b"no tar"), "ArchiveInvalid"),
        ];
        for (body, name, code) in cases {
            let reply = runner.call("PUT", &route(&name), body);
            assert_eq!((reply.status, reply.code().as_str()), (400, code));
            assert_eq!(runner.call("GET", &route(&name), b"").status, 404);
        }
        // Followed by more than the archive: its end does not end the hash.
        let trailed = [tar(&[("f", "x")]), vec![7; 5000]].concat();
        assert_eq!(
            runner.call("PUT", &route(&sha256(&trailed[..trailed.len() - 5000])), &trailed).code(),
            "DigestMismatch"
        );
        upload(runner, &trailed);
        let stream = begin(runner, "PUT", &route(&sha256(&archive)), &archive, archive.len() / 2);
        wait_until("the upload has begun", || on_disk(runner, "u-").len() == 1);
        stream.shutdown(Shutdown::Both).unwrap();
        wait_until("its beginning is removed", || on_disk(runner, "u-").is_empty());
        assert_eq!(held(runner), [sha256(&trailed)]);
        assert_eq!(upload(runner, &archive), sha256(&archive), "and it can come again");
        assert!(!runner.path("out").exists());
    });
}

#[test]
fn uploads_of_one_workspace_at_one_time_are_one() {
    let runner = Runner::start(None, &[]);
    let archive = tar(&[("f", &"x".repeat(1 << 20))]);
    let name = sha256(&archive);
    let mut first = begin(&runner, "PUT", &route(&name), &archive, 1 << 19);
    wait_until("the first upload has begun", || on_disk(&runner, "u-").len() == 1);
    std::thread::scope(|scope| {
        let others: Vec<_> =
            (0..3).map(|_| scope.spawn(|| runner.call("PUT", &route(&name), &archive).status)).collect();
        first.write_all(&archive[1 << 19..]).unwrap();
        assert!(reply_of(first).starts_with("HTTP/1.1 201"));
        assert!(others.into_iter().all(|other| other.join().unwrap() == 200));
    });
    assert_eq!(on_disk(&runner, "w-").len(), 1);
}

#[test]
fn a_command_never_sees_what_another_one_did() {
    // Where commands may connect to sockets, forks are put back in another way.
    for (user, sockets) in users().into_iter().flat_map(|user| [(user, "deny"), (user, "allow")]) {
        let runner = Runner::start(user, &["--unix-sockets", sockets, "--max-concurrent", "6"]);
        let name = upload(&runner, &tar(&[("a/b/f", "original"), ("a/g", "two"), ("run", "x")]));
        let script = "import os,sys\n\
            state=sorted((p,sorted(d),sorted((n,open(os.path.join(p,n)).read()) for n in f),oct(os.stat(p).st_mode)) for p,d,f in os.walk('.'))\n\
            print(state, os.listxattr('.'), os.listxattr('a'))\n\
            mark=sys.argv[1]\n\
            open('a/b/f','w').write(mark); open('new'+mark,'w').write(mark); os.makedirs('a/deep/er'); os.chmod('a',0o700); os.chmod('.',0o777)\n\
            os.rename('run','gone') if int(mark)%2 else os.symlink('/etc','l')\n\
            int(mark)%3 or os.setxattr('a',b'user.mark',mark.encode())\n\
            try: os.listdir('..'); print('open')\n\
            except PermissionError: pass\n";
        let request = |mark: usize| json!({"argv": ["python3", "-c", script, mark.to_string()], "workspace": name, "timeout_ms": 30_000});
        let first = runner.exec(&request(0))["stdout"].as_str().unwrap().to_owned();
        assert!(first.contains("original") && first.contains("('run', 'x')") && !first.contains("open"), "{first}");
        std::thread::scope(|scope| {
            for thread in 0..6 {
                let (runner, request, first) = (&runner, &request, &first);
                scope.spawn(move || {
                    for turn in 0..8 {
                        let reply = runner.exec(&request(thread * 8 + turn));
                        assert_eq!(reply["stdout"].as_str().unwrap(), first, "{reply}");
                    }
                });
            }
        });
        wait_until_idle(&runner, &name);
        assert!(on_disk(&runner, "c-").len() <= 6, "no more forks than there were commands at one time");
        assert_eq!(runner.shell("ls -A")["stdout"], "");
    }
}

#[test]
fn forks_are_used_again_under_another_name() {
    for sockets in ["deny", "allow"] {
        let runner = Runner::start(None, &["--unix-sockets", sockets]);
        let name = upload(&runner, &tar(&[("d/f", "x")]));
        let mut seen = Vec::new();
        for _ in 0..3 {
            let reply = runner.exec(&shell(&name, "pwd; stat -c %i d/f; touch n"));
            wait_until_idle(&runner, &name);
            assert_eq!(runner.call("GET", &route(&name), b"").json()["forks_ready"], 1);
            let text = reply["stdout"].as_str().unwrap();
            seen.push(text.lines().map(str::to_owned).collect::<Vec<_>>());
        }
        assert!(seen.iter().all(|one| one[1] == seen[0][1]), "the file was not copied anew: {seen:?}");
        assert!(seen[0][0] != seen[1][0] && seen[1][0] != seen[2][0], "{seen:?}");
    }
}

/// Two commands of one attacker: the first hands the second, which goes on, what it has open in its fork.
#[test]
fn a_descriptor_that_was_handed_on_reaches_no_later_command() {
    for user in users() {
        let runner = Runner::start(user, &["--unix-sockets", "allow"]);
        let name = upload(&runner, &tar(&[("d/f", "original")]));
        let accomplice = "import socket,os,time\n\
            s=socket.socket(socket.AF_UNIX); s.bind('sock'); s.listen(); c,_=s.accept()\n\
            _,fds,_,_=socket.recv_fds(c,1,2)\n\
            while not os.path.exists('go'): time.sleep(0.01)\n\
            os.pwrite(fds[0],b'evil',0); print(os.listdir(fds[1]))\n";
        let thief = format!(
            "import socket,os\n\
            s=socket.socket(socket.AF_UNIX); s.connect('{}')\n\
            socket.send_fds(s,[b'x'],[os.open('d/f',os.O_RDWR),os.open('d',os.O_RDONLY)])\n",
            runner.path("workspace/sock").display()
        );
        std::thread::scope(|scope| {
            let accomplice = scope.spawn(|| runner.python(accomplice));
            wait_until("the accomplice listens", || runner.path("workspace/sock").exists());
            let reply = runner.exec(&json!({"argv": ["python3", "-c", thief], "workspace": name}));
            assert_eq!(reply["reason"], "Completed", "{reply}");
            wait_until_idle(&runner, &name);
            let script = "touch d/secret; while [ ! -e done ]; do :; done; cat d/f";
            let victim = scope.spawn(|| runner.exec(&shell(&name, script)));
            let mut fork = None;
            wait_until("the victim runs", || {
                fork = on_disk(&runner, "c-").into_iter().find(|fork| fork.join("d/secret").exists());
                fork.is_some()
            });
            assert_eq!(runner.call("PUT", "/v1/files/go", b"").status, 204);
            let seen = accomplice.join().unwrap();
            fs::write(fork.unwrap().join("done"), "").unwrap();
            assert_eq!(victim.join().unwrap()["stdout"], "original");
            assert_eq!(seen["reason"], "Completed", "{seen}");
            assert!(!seen["stdout"].as_str().unwrap().contains("secret"), "{seen}");
        });
    }
}

#[test]
fn the_least_recently_used_makes_room_and_what_is_in_use_stays() {
    let runner = Runner::start(None, &["--max-workspaces", "2"]);
    let archives: Vec<_> = ["1", "2", "3", "4"].map(|text| tar(&[("f", text)])).into();
    let (one, two) = (upload(&runner, &archives[0]), upload(&runner, &archives[1]));
    runner.exec(&shell(&one, "true"));
    wait_until_idle(&runner, &one);
    let three = upload(&runner, &archives[2]);
    assert_eq!(held(&runner), [three.clone(), one.clone()]);
    assert_eq!(runner.post("/v1/exec", &shell(&two, "true")).code(), "WorkspaceUnknown");
    std::thread::scope(|scope| {
        let busy: Vec<_> = [&one, &three]
            .into_iter()
            .map(|name| scope.spawn(|| runner.exec(&shell(name, "touch up; while [ ! -e done ]; do :; done"))))
            .collect();
        let up = || on_disk(&runner, "c-").into_iter().filter(|fork| fork.join("up").exists()).collect::<Vec<_>>();
        wait_until("both are in use", || up().len() == 2);
        let info = runner.call("GET", "/v1/info", b"").json();
        assert_eq!((&info["running"], &info["waiting"], &info["workspaces_held"]), (&json!(2), &json!(0), &json!(2)));
        let refused = runner.call("PUT", &route(&sha256(&archives[3])), &archives[3]);
        assert_eq!((refused.status, refused.code().as_str()), (507, "WorkspacesFull"));
        assert_eq!(runner.call("DELETE", &route(&one), b"").code(), "WorkspaceBusy");
        for fork in up() {
            fs::write(fork.join("done"), "").unwrap();
        }
        assert!(busy.into_iter().all(|command| command.join().unwrap()["reason"] == "Completed"));
    });
    wait_until_idle(&runner, &one);
    wait_until_idle(&runner, &three);
    upload(&runner, &archives[3]);
    assert!(on_disk(&runner, "u-").is_empty());
    assert_eq!(on_disk(&runner, "w-").len(), 2);
}

#[test]
fn bytes_are_bounded_each_and_all_together_with_forks() {
    let flags = ["--max-workspace-bytes", "300000", "--max-workspaces-total-bytes", "500000", "--max-entries", "40"];
    let runner = Runner::start(None, &flags);
    let big = gzip(&tar(&[("f", &"\0".repeat(400_000))]));
    let many: Vec<String> = (0..60).map(|number| format!("f{number}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "")).collect();
    for archive in [big, tar(&many)] {
        let reply = runner.call("PUT", &route(&sha256(&archive)), &archive);
        assert_eq!((reply.status, reply.code().as_str()), (413, "ArchiveTooLarge"));
    }
    let small = upload(&runner, &tar(&[("f", &"1".repeat(200_000))]));
    runner.exec(&shell(&small, "true"));
    wait_until_idle(&runner, &small);
    assert_eq!(on_disk(&runner, "c-").len(), 1);
    let other = upload(&runner, &tar(&[("f", &"2".repeat(200_000))]));
    assert_eq!(held(&runner), [other.clone(), small.clone()], "a ready fork goes before a workspace");
    assert!(on_disk(&runner, "c-").is_empty());
    runner.exec(&shell(&other, "true"));
    assert_eq!(held(&runner), [other], "a fork makes room too");
    let lone = upload(&runner, &tar(&[("f", &"3".repeat(280_000))]));
    let refused = runner.post("/v1/exec", &shell(&lone, "true"));
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (507, "WorkspacesFull"),
        "two of these are never within bounds"
    );
}

#[test]
fn a_crash_in_the_middle_of_an_upload_leaves_what_was_whole() {
    for user in users() {
        let mut runner = Runner::start(user, &[]);
        let whole = upload(&runner, &tar(&[("f", "whole")]));
        runner.exec(&shell(&whole, "true"));
        let archive = tar(&[("f", &"x".repeat(1 << 20))]);
        let _half = begin(&runner, "PUT", &route(&sha256(&archive)), &archive, 1 << 19);
        let begun = || on_disk(&runner, "u-").iter().any(|place| place.join("tree/f").exists());
        wait_until("the upload is being unpacked", begun);
        runner.start_again(&[]);
        assert_eq!(held(&runner), std::slice::from_ref(&whole));
        assert!(on_disk(&runner, "u-").is_empty() && on_disk(&runner, "c-").is_empty());
        assert_eq!(runner.exec(&shell(&whole, "cat f"))["stdout"], "whole");
        upload(&runner, &archive);
        // What another boot left may be torn.
        for place in on_disk(&runner, "w-") {
            let label = fs::read_to_string(place.join("held.json")).unwrap();
            let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
            assert!(label.contains(boot.trim()));
            fs::write(place.join("held.json"), label.replace(boot.trim(), "an earlier one")).unwrap();
        }
        runner.start_again(&[]);
        assert!(held(&runner).is_empty() && on_disk(&runner, "w-").is_empty());
    }
}

#[test]
fn a_restart_keeps_within_the_bounds_of_then() {
    let mut runner = Runner::start(None, &[]);
    for text in ["1", "2", "3"] {
        upload(&runner, &tar(&[("f", text)]));
    }
    runner.start_again(&["--max-workspaces", "1"]);
    assert_eq!((held(&runner).len(), on_disk(&runner, "w-").len()), (1, 1));
}

#[test]
fn info_tells_the_load_and_what_is_held() {
    let runner = Runner::start(None, &[]);
    let (one, two) = (upload(&runner, &tar(&[("f", "1")])), upload(&runner, &tar(&[("f", "2")])));
    let info = runner.call("GET", "/v1/info", b"").json();
    assert_eq!(info["workspaces"], json!([two, one]));
    assert_eq!((&info["running"], &info["waiting"]), (&json!(0), &json!(0)));
    assert!(info["pressure"].as_f64().unwrap() >= 0.0);
    assert!(["cgroup", "node", "running"].contains(&info["pressure_source"].as_str().unwrap()), "{info}");
}
