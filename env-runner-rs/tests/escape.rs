//! Commands that try to leave the sandbox: to the network, to secrets, to other processes, to other files.
#![allow(clippy::unwrap_used)] // a panic fails the test

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use common::{Runner, TOKEN, as_every_user, users, wait_until};
use serde_json::{Value, json};

fn isolation(reply: &Value) -> Vec<String> {
    serde_json::from_value(reply["isolation"].clone()).unwrap()
}

#[test]
fn no_socket_family_reaches_the_network() {
    as_every_user(|runner| {
        let reply = runner.python(
            "import socket as s\n\
             kinds=[(s.AF_INET,s.SOCK_STREAM),(s.AF_INET,s.SOCK_DGRAM),(s.AF_INET6,s.SOCK_STREAM),(s.AF_NETLINK,s.SOCK_RAW),\
                    (s.AF_PACKET,s.SOCK_RAW),(s.AF_VSOCK,s.SOCK_STREAM),(38,s.SOCK_SEQPACKET)]\n\
             for kind in kinds:\n\
             \x20 try: s.socket(*kind); print('open',kind)\n\
             \x20 except PermissionError: print('refused')\n\
             a,b=s.socketpair(); a.send(b'x'); print('pair',b.recv(1))",
        );
        assert_eq!(reply["stdout"], format!("{}pair b'x'\n", "refused\n".repeat(7)), "{reply}");
        assert!(isolation(&reply).contains(&"no_network".to_owned()));
    });
}

#[test]
fn abstract_sockets_of_others_are_out_of_reach_where_claimed() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};
    let name = format!("env-runner-test-{}", std::process::id());
    let _listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    as_every_user(|runner| {
        let reply = runner.python(&format!("import socket\ns=socket.socket(socket.AF_UNIX)\ns.connect('\\0{name}')"));
        let claimed = isolation(&reply).iter().any(|rung| rung == "signal_scope" || rung == "no_unix_connect");
        assert_eq!(claimed, reply["exit_code"] != 0, "{reply}");
    });
}

#[test]
fn the_token_and_the_runners_memory_cannot_be_read() {
    as_every_user(|runner| {
        let (token, pid) = (runner.path("token/token"), runner.pid());
        let reply = runner.shell(&format!(
            "cat {0}; ln -s {0} here; cat here; cat /proc/{pid}/environ /proc/{pid}/mem /proc/{pid}/root{0}; \
             for p in /proc/[0-9]*; do cat $p/environ 2>/dev/null | tr '\\0' '\\n' | grep RUNNER_SECRET; done; env",
            token.display()
        ));
        let text = reply["stdout"].as_str().unwrap();
        assert!(!text.contains(TOKEN), "{reply}");
        assert!(!text.contains("RUNNER_SECRET"), "{reply}");
        assert!(text.contains("VISIBLE=shown"));
    });
}

#[test]
fn other_processes_can_neither_be_signalled_nor_traced() {
    as_every_user(|runner| {
        let reply = runner.python(&format!(
            "import os,ctypes\n\
             for pid in ({0}, os.getppid()):\n\
             \x20 try: os.kill(pid, 9); print('killed', pid)\n\
             \x20 except PermissionError: print('refused')\n\
             try: os.kill(-1, 9)\n\
             except PermissionError: pass\n\
             c=ctypes.CDLL(None, use_errno=True)\n\
             print(c.ptrace(16,{0},0,0), c.unshare(0x10000000), c.mount(b'a',b'/',b'tmpfs',0,0), c.syscall(425,8,0), c.syscall(321,0,0,0))",
            runner.pid()
        ));
        assert_eq!(reply["stdout"], "refused\nrefused\n-1 -1 -1 -1 -1\n", "{reply}");
        assert_eq!(runner.shell("true")["reason"], "Completed");
    });
}

/// Tries calls by number and prints `refused` for each that the filter stops (EPERM), else what it gave.
const TRY: &str = "import ctypes,os,sys\n\
    c=ctypes.CDLL(None,use_errno=True)\n\
    def attempt(name,*words):\n\
    \x20 ctypes.set_errno(0); got=c.syscall(*words); print('refused' if (got,ctypes.get_errno())==(-1,1) else (name,got,ctypes.get_errno()))\n";

#[cfg(target_arch = "x86_64")] // the numbers are that architecture's
#[test]
fn limits_and_priorities_of_other_processes_cannot_be_set() {
    as_every_user(|runner| {
        let zygote = runner.zygote();
        let reply = runner.python(&format!(
            "{TRY}\
             import struct\n\
             none=ctypes.create_string_buffer(struct.pack('QQ',0,0)); zero=ctypes.create_string_buffer(64); one=ctypes.create_string_buffer(b'\\1'+63*b'\\0')\n\
             for pid in ({zygote},{0},os.getppid()):\n\
             \x20 attempt('prlimit',302,pid,7,none,0)\n\
             \x20 attempt('scheduler',144,pid,0,zero)\n\
             \x20 attempt('param',142,pid,zero)\n\
             \x20 attempt('attr',314,pid,zero,0)\n\
             \x20 attempt('affinity',203,pid,8,one)\n\
             \x20 attempt('setpriority',141,0,pid,19)\n\
             \x20 attempt('ioprio',251,1,pid,0x6000)\n\
             \x20 attempt('migrate',256,pid,1,zero,zero)\n\
             \x20 attempt('move',279,pid,0,0,0,0,0)\n\
             attempt('setpriority of the user',141,2,0,19)\n\
             attempt('ioprio of the user',251,3,0,0x6000)",
            runner.pid()
        ));
        assert_eq!(reply["stdout"], "refused\n".repeat(29), "{reply}");
        let own = runner.python(
            "import os,resource\n\
             resource.setrlimit(resource.RLIMIT_NOFILE,(64,64)); os.sched_setaffinity(0,os.sched_getaffinity(0)); os.nice(1)\n\
             print(resource.prlimit(os.getppid(),resource.RLIMIT_CORE)[0]>=-1)",
        );
        assert_eq!(own["reason"], "Completed", "{own}");
        assert_eq!(runner.shell("true")["reason"], "Completed");
    });
}

#[test]
fn datagrams_do_not_reach_local_sockets_by_any_type() {
    for user in users() {
        let runner = Runner::start(user, &["--unix-sockets", "deny"]);
        let path = runner.path("other/daemon.sock");
        let daemon = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        daemon.set_nonblocking(true).unwrap();
        let reply = runner.python(&format!(
            "import socket as s\n\
             for flags in (0,s.SOCK_CLOEXEC,s.SOCK_NONBLOCK):\n\
             \x20 for kind in (s.SOCK_DGRAM,s.SOCK_RAW):\n\
             \x20  for make in (s.socket,s.socketpair):\n\
             \x20   try:\n\
             \x20    made=make(s.AF_UNIX,kind|flags); made=made if make is s.socket else made[0]; made.sendto(b'x','{0}'); print('sent',make,kind)\n\
             \x20   except PermissionError: print('refused')\n\
             for kind in (s.SOCK_STREAM,s.SOCK_SEQPACKET):\n\
             \x20 try: s.socket(s.AF_UNIX,kind).connect('{0}'); print('connected')\n\
             \x20 except PermissionError: print('refused')\n\
             \x20 a,b=s.socketpair(s.AF_UNIX,kind)\n\
             \x20 try: a.sendto(b'x','{0}')\n\
             \x20 except OSError: pass",
            path.display()
        ));
        assert_eq!(reply["stdout"], "refused\n".repeat(14), "{reply}");
        assert!(isolation(&reply).contains(&"no_unix_connect".to_owned()));
        assert_eq!(daemon.recv(&mut [0; 8]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }
}

/// As on a kernel before 6.12, where Landlock does not keep signals within a command.
#[test]
fn without_a_signal_scope_the_runners_own_processes_are_still_out_of_reach() {
    for user in users() {
        let runner = Runner::start(user, &["--max-landlock-abi", "5"]);
        let thread = fs::read_dir(format!("/proc/{}/task", runner.pid())).unwrap().last().unwrap().unwrap().file_name();
        let (zygote, pid, thread) = (runner.zygote(), runner.pid(), thread.to_str().unwrap().to_owned());
        let reply = runner.python(&format!(
            "import os,signal,ctypes,fcntl,socket\n\
             c=ctypes.CDLL(None,use_errno=True)\n\
             def attempt(f,*words):\n\
             \x20 try: print('done',f,words,f(*words))\n\
             \x20 except PermissionError: print('refused')\n\
             def call(*words):\n\
             \x20 if c.syscall(*words)==-1: raise OSError(ctypes.get_errno(),'')\n\
             info=ctypes.create_string_buffer(128)\n\
             for pid in ({pid},{thread},{zygote},os.getppid()):\n\
             \x20 attempt(os.kill,pid,9)\n\
             \x20 attempt(call,{tkill},pid,9)\n\
             \x20 attempt(call,{queue},pid,9,info)\n\
             for pid in ({pid},{zygote},os.getppid()):\n\
             \x20 attempt(os.kill,-pid,9)\n\
             \x20 attempt(call,{tgkill},pid,pid,9)\n\
             \x20 attempt(signal.pidfd_send_signal,os.pidfd_open(pid),9)\n\
             \x20 attempt(fcntl.fcntl,0,fcntl.F_SETOWN,pid)\n\
             attempt(os.kill,-1,9); attempt(os.kill,1,9); attempt(os.kill,-{group},9)\n\
             child=os.fork() or os.execlp('sleep','sleep','60')\n\
             os.kill(child,9); print(os.waitpid(child,0)[1])\n\
             child=os.fork() or os.setsid() or os.execlp('sleep','sleep','60')\n\
             while os.getpgid(child)!=child: pass\n\
             os.killpg(child,15); print(os.waitpid(child,0)[1])\n\
             signal.signal(signal.SIGUSR1,lambda *_: print('own')); os.kill(0,signal.SIGUSR1)",
            tkill = libc::SYS_tkill,
            queue = libc::SYS_rt_sigqueueinfo,
            tgkill = libc::SYS_tgkill,
            group = nix::unistd::getpgid(Some(nix::unistd::Pid::from_raw(pid.cast_signed()))).unwrap(),
        ));
        assert_eq!(reply["stdout"], format!("{}9\n15\nown\n", "refused\n".repeat(27)), "{reply}");
        assert!(isolation(&reply).contains(&"signal_guard".to_owned()), "{reply}");
        assert!(!isolation(&reply).contains(&"signal_scope".to_owned()), "{reply}");
        let stopped = runner.exec(&json!({"argv": ["sh", "-c", "setsid sleep 600 & sleep 600"], "timeout_ms": 300}));
        assert_eq!(stopped["reason"], "TimedOut", "{stopped}");
    }
}

#[test]
fn without_landlock_nothing_starts_unless_told_otherwise() {
    let request = json!({"argv": ["touch", "started"]});
    let runner = Runner::start(None, &["--max-landlock-abi", "0"]);
    let reply = runner.post("/v1/exec", &request);
    assert_eq!((reply.status, reply.code().as_str()), (503, "IsolationUnavailable"));
    assert!(reply.json()["error"]["message"].as_str().unwrap().contains("landlock"));
    assert!(!runner.path("workspace/started").exists());
    let told = Runner::start(None, &["--max-landlock-abi", "0", "--require", "no_new_privs,seccomp"]);
    let rungs = isolation(&told.exec(&request));
    assert!(!rungs.iter().any(|rung| rung.starts_with("landlock") || rung == "signal_scope"), "{rungs:?}");
}

#[test]
fn memory_and_terminals_that_others_share_stay_closed() {
    as_every_user(|runner| {
        let name = format!("env-runner-test-{}", runner.pid());
        let reply = runner.python(&format!(
            "import os\n\
             for path in ('/dev/shm/{name}','/dev/pts/ptmx'):\n\
             \x20 try: os.open(path,os.O_RDWR|os.O_CREAT,0o600); print('open',path)\n\
             \x20 except PermissionError: print('refused')"
        ));
        assert_eq!(reply["stdout"], "refused\nrefused\n", "{reply}");
        assert!(!std::path::Path::new("/dev/shm").join(name).exists());
    });
}

/// As the first process of a container, with a /tmp of its own.
#[test]
fn a_containers_tmp_is_for_all_its_commands_unless_many_users_share_it() {
    let container = |flags: &[&str]| {
        // Outside /tmp, so that granting /tmp would not grant the workspace.
        let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let result = home.path().join("result");
        let request = json!({"argv": ["sh", "-c", "for place in /tmp /dev/shm \"$TMPDIR\"; do touch $place/f && echo $place; done"]});
        let mut inside = Command::new("unshare");
        inside.args(["--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c"]);
        inside.arg("for place in /tmp /dev/shm; do mount -t tmpfs none $place; done; exec \"$@\"").arg("sh");
        inside.arg(env!("CARGO_BIN_EXE_env-runner")).args(["run", "--request", &request.to_string()]).args(flags);
        inside.arg("--workspace").arg(home.path()).arg("--result-file").arg(&result).env("TMPDIR", home.path());
        let ran = inside.output().unwrap();
        let written: Value =
            serde_json::from_str(&fs::read_to_string(&result).unwrap_or_else(|_| panic!("{ran:?}"))).unwrap();
        let places = written["stdout_tail"].as_str().unwrap().replace(home.path().to_str().unwrap(), "home");
        places.lines().map(|line| line.split("/env-runner-").next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    if !nix::unistd::geteuid().is_root() {
        return; // only root may make the namespaces here
    }
    assert_eq!(container(&[]), ["/tmp", "/dev/shm", "home"]);
    assert_eq!(container(&["--shared-tmp", "false"]), ["home"]);
}

#[test]
fn namespaces_are_refused_and_x32_calls_too() {
    as_every_user(|runner| {
        let reply = runner.python(
            "import ctypes\nc=ctypes.CDLL(None,use_errno=True)\n\
             print(c.syscall(56,0x10000000|17,0,0,0,0), c.syscall(435,0,0), ctypes.get_errno(), c.syscall(0x40000000+41,2,1,0))",
        );
        assert_eq!(reply["stdout"], "-1 -1 38 -1\n", "{reply}");
    });
}

#[test]
fn writes_stay_in_the_workspace_and_the_private_directory() {
    as_every_user(|runner| {
        let other = runner.path("other");
        symlink(&other, runner.path("workspace/out")).unwrap();
        let reply = runner.shell(&format!(
            "echo x > {0}/a; echo x > out/b; ln {0}/../env-runner hard; mv inside {0}/c; echo x > /tmp/env-runner-test; \
             echo ok > inside && echo ok > \"$TMPDIR/inside\" && echo x > /dev/null && cat inside \"$TMPDIR/inside\"",
            other.display()
        ));
        assert_eq!(reply["stdout"], "ok\nok\n", "{reply}");
        assert_eq!(fs::read_dir(&other).unwrap().count(), 0);
        let private = runner.path("forks/tmp");
        wait_until("private directories are removed", || fs::read_dir(&private).unwrap().count() == 0);
    });
}

#[test]
fn forks_do_not_see_each_other() {
    as_every_user(|runner| {
        let (one, two) = (runner.fork("main"), runner.fork("main"));
        let script = format!(
            "ls {0}/forks; cat {0}/forks/{one}/x; echo y > {0}/forks/{one}/y; echo z > z; ls",
            runner.home.path().display()
        );
        let reply = runner.exec(&json!({"argv": ["sh", "-c", script], "workspace": two}));
        assert_eq!(reply["stdout"], "z\n", "{reply}");
        assert!(!runner.path("forks").join(one).join("y").exists());
    });
}

#[test]
fn a_working_directory_cannot_lead_out() {
    as_every_user(|runner| {
        symlink("/", runner.path("workspace/root")).unwrap();
        for cwd in ["root", "root/etc"] {
            assert_eq!(runner.post("/v1/exec", &json!({"argv": ["pwd"], "cwd": cwd})).code(), "CannotStart");
        }
        for cwd in ["/etc", "../.."] {
            assert_eq!(runner.post("/v1/exec", &json!({"argv": ["pwd"], "cwd": cwd})).code(), "BadRequest");
        }
    });
}

#[test]
fn root_keeps_only_file_capabilities() {
    as_every_user(|runner| {
        let reply = runner
            .shell("grep -E '^(CapEff|CapPrm|NoNewPrivs|Seccomp):' /proc/self/status; mknod d c 1 3; chroot / true");
        let text = reply["stdout"].as_str().unwrap();
        let held = text
            .lines()
            .filter(|line| line.starts_with("Cap"))
            .map(|line| u64::from_str_radix(line[7..].trim(), 16).unwrap());
        assert!(held.into_iter().all(|mask| mask & !0xdb == 0), "{reply}");
        assert!(text.contains("NoNewPrivs:\t1") && text.contains("Seccomp:\t2"), "{reply}");
        assert!(!runner.path("workspace/d").exists());
    });
}

#[test]
fn the_network_is_given_only_when_allowed_and_asked_for() {
    for user in users() {
        let runner = Runner::start(user, &["--network", "allow"]);
        let script = "import socket; socket.socket(); print('open')";
        let with = runner.exec(&json!({"argv": ["python3", "-c", script], "network": true}));
        assert_eq!(with["stdout"], "open\n", "{with}");
        assert!(!isolation(&with).contains(&"no_network".to_owned()));
        assert_ne!(runner.python(script)["exit_code"], 0);
    }
    let runner = Runner::start(None, &[]);
    let refused = runner.post("/v1/exec", &json!({"argv": ["true"], "network": true}));
    assert_eq!((refused.status, refused.code().as_str()), (403, "NetworkNotAllowed"));
}

#[test]
fn a_required_rung_that_is_missing_stops_the_command() {
    let runner = Runner::start(None, &["--require", "no_new_privs,unobtainable"]);
    let reply = runner.post("/v1/exec", &json!({"argv": ["touch", "started"]}));
    assert_eq!((reply.status, reply.code().as_str()), (503, "IsolationUnavailable"));
    assert!(!runner.path("workspace/started").exists());
}
