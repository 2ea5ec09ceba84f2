//! Several hubs on a cluster of three database nodes, one of which dies: no row is missing or there twice.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hub::session::Session;
use hub::session::capturers::Claim;
use proto::account::Consumer;
use proto::launch::{HubPlace, StoreChoice};

use super::hubs::{count, hello, ids, launch, take};
use super::server::run;
use super::{Arc, Instant, Mysql, first, integer, v1};
use crate::Engine as _;

/// What makes MariaDB a node of a cluster; the package of the server brings it.
const PROVIDER: &str = "/usr/lib/galera/libgalera_smm.so";

/// Longest wait for a node to join, and for hubs to go on without one.
const SOON: Duration = Duration::from_mins(1);

/// Who the package of the server runs it as.
const USER: &str = "mysql";

/// Nodes of the database.
const NODES: usize = 3;

/// Hubs, and capturers of each.
const HUBS: usize = 3;
const CAPTURERS: usize = 2;

/// Batches of each capturer, and exchanges of each batch.
const BATCHES: u64 = 60;
const EXCHANGES: u64 = 20;

/// One node.
struct Node {
    child: Child,
    port: u16,
    log: PathBuf,
}

/// The database.
struct Galera {
    nodes: Vec<Node>,
    _folder: tempfile::TempDir,
}

impl Galera {
    /// Starts a cluster, or says why there is none.
    fn start() -> Result<Self, String> {
        if !Path::new(PROVIDER).exists() {
            return Err(format!("`{PROVIDER}` is not installed"));
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let data = |node: usize| folder.path().join(format!("data-{node}"));
        run(Command::new("mariadb-install-db").args([
            "--no-defaults",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            &format!("--datadir={}", data(0).display()),
        ]));
        let init = folder.path().join("init.sql");
        let sql = "CREATE DATABASE kyanos;\nCREATE USER 'kyanos'@'%' IDENTIFIED BY 'secret';\n\
                   GRANT ALL ON kyanos.* TO 'kyanos'@'%' WITH GRANT OPTION;\n\
                   GRANT CREATE USER ON *.* TO 'kyanos'@'%';\nSHUTDOWN;\n";
        std::fs::write(&init, sql).unwrap();
        run(Command::new("chown").args(["-R", USER]).arg(folder.path()));
        let group: Vec<u16> = (0..NODES).map(|_| free_port()).collect();
        // Once alone, so that all nodes begin with the same state and none has to copy another's.
        let mut alone = Node::command(folder.path(), &data(0), 0, &group, free_port());
        alone.args(["--wsrep-new-cluster", &format!("--init-file={}", init.display())]);
        run(&mut alone);
        for node in 1..NODES {
            run(Command::new("cp").arg("-a").arg(data(0)).arg(data(node)));
        }
        let mut nodes = Vec::new();
        for node in 0..NODES {
            let port = free_port();
            let mut command = Node::command(folder.path(), &data(node), node, &group, port);
            if node == 0 {
                command.arg("--wsrep-new-cluster");
            }
            nodes.push(Node::start(command, port, folder.path().join(format!("log-{node}"))));
        }
        Ok(Self { nodes, _folder: folder })
    }

    /// All nodes, the one that will die first.
    fn url(&self) -> String {
        let hosts: Vec<_> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("mysql://kyanos:secret@{}/kyanos", hosts.join(","))
    }

    fn kill_first(&mut self) {
        self.nodes[0].child.kill().unwrap();
        self.nodes[0].child.wait().unwrap();
    }
}

impl Node {
    fn command(folder: &Path, data: &Path, node: usize, group: &[u16], port: u16) -> Command {
        let mut command = Command::new("/usr/sbin/mariadbd");
        let members: Vec<_> = group.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let own = group[node];
        command.args([
            "--no-defaults".to_owned(),
            // What copies state between nodes refuses to work in root's folders.
            format!("--user={USER}"),
            format!("--datadir={}", data.display()),
            format!("--socket={}", folder.join(format!("socket-{node}")).display()),
            format!("--pid-file={}", folder.join(format!("pid-{node}")).display()),
            format!("--port={port}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--skip-name-resolve".to_owned(),
            "--binlog-format=ROW".to_owned(),
            "--innodb-autoinc-lock-mode=2".to_owned(),
            "--innodb-buffer-pool-size=32M".to_owned(),
            "--innodb-flush-log-at-trx-commit=0".to_owned(),
            "--wsrep-on=ON".to_owned(),
            format!("--wsrep-provider={PROVIDER}"),
            format!("--wsrep-cluster-address=gcomm://{}", members.join(",")),
            format!("--wsrep-node-address=127.0.0.1:{own}"),
            format!("--wsrep-node-name=node-{node}"),
            format!("--wsrep-sst-receive-address=127.0.0.1:{}", free_port()),
            // What a node copies from another one passes through a port of its own.
            format!(
                "--wsrep-provider-options=base_port={own};gmcast.listen_addr=tcp://127.0.0.1:{own};\
                 ist.recv_addr=127.0.0.1:{};gcache.size=16M;evs.keepalive_period=PT0.5S;\
                 evs.suspect_timeout=PT2S;evs.inactive_timeout=PT4S",
                free_port()
            ),
        ]);
        command.stdin(Stdio::null());
        command
    }

    /// Starts it and waits until it takes part.
    fn start(mut command: Command, port: u16, log: PathBuf) -> Self {
        let file = std::fs::File::create(&log).unwrap();
        let child = command.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        let mut node = Self { child, port, log };
        let deadline = Instant::now() + SOON;
        let synced = |node: &Self| node.said().contains("Synchronized with group, ready for connections");
        while !synced(&node) || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let ended = node.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "{}", node.said());
            std::thread::sleep(Duration::from_millis(50));
        }
        node
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Ended before where the test did it.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

async fn begin(name: &str, url: &str) -> Arc<Session> {
    let place = HubPlace::Cluster { namespace: "kyanos-shared".to_owned() };
    let store = StoreChoice::Mysql { url: url.to_owned(), reader: None };
    let launch = proto::launch::HubLaunch { hubs: 3, ..launch("shared", place, store) };
    Session::begin_as(&launch, name, std::future::ready(())).await.unwrap()
}

/// Feeds a hub from a capturer, batch by batch.
async fn feed(hub: Arc<Session>, node: String, claim: Claim) {
    for sequence in 1..=BATCHES {
        let first = (sequence - 1) * EXCHANGES;
        take(&hub, &node, claim, sequence, &ids(claim, first..first + EXCHANGES), first + EXCHANGES);
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn galera() {
    let mut galera = match tokio::task::block_in_place(Galera::start) {
        Ok(galera) => galera,
        Err(reason) => return println!("skipped: {reason}"),
    };
    let url = galera.url();
    let mut hubs = Vec::new();
    for hub in 0..HUBS {
        hubs.push(begin(&format!("hub-{hub}"), &url).await);
    }
    // All capturers come at once, to different hubs.
    let claims = hubs.iter().enumerate().flat_map(|(number, hub)| {
        (0..CAPTURERS).map(move |capturer| {
            let (hub, node) = (Arc::clone(hub), format!("node-{number}-{capturer}"));
            tokio::spawn(async move {
                let claim = hub.connect(hello(&node)).await.unwrap();
                (hub, node, claim)
            })
        })
    });
    let claims: Vec<_> = claims.collect();
    let mut feeds = Vec::new();
    let mut bases = std::collections::BTreeSet::new();
    for claim in claims {
        let (hub, node, claim) = tokio::time::timeout(SOON, claim).await.unwrap().unwrap();
        assert!(bases.insert(claim.id_base), "{node} shares its ids");
        feeds.push(tokio::spawn(feed(hub, node, claim)));
    }
    tokio::time::sleep(Duration::from_millis(800)).await;
    galera.kill_first();
    for feed in feeds {
        feed.await.unwrap();
    }
    // A capturer that feeds another hub keeps its ids; a new process has others.
    let moved = v1::CapturerHello { id_base: Some(*bases.first().unwrap()), ..hello("node-0-0") };
    let moved = hubs[1].connect(moved).await.unwrap();
    assert_eq!(Some(&moved.id_base), bases.first());
    let fresh = v1::CapturerHello { instance: 77, ..hello("node-0-0") };
    let fresh = hubs[2].connect(fresh).await.unwrap();
    assert!(bases.insert(fresh.id_base), "ids of a former process");

    let offered = u64::try_from(HUBS * CAPTURERS).unwrap() * BATCHES * EXCHANGES;
    let mut sum = (0, 0, 0);
    for hub in &hubs {
        hub.close(true, Instant::now() + SOON).await;
        let store = hub.balances().into_iter().find(|balance| balance.consumer == Consumer::Store).unwrap();
        sum = (sum.0 + store.seen, sum.1 + store.delivered, sum.2 + store.lost.total());
    }
    assert_eq!(sum, (offered, offered, 0));
    let archive = Mysql(url).archive("shared").await;
    assert_eq!(count(&archive, "shared").await, i64::try_from(offered).unwrap());
    let sql = "SELECT COUNT(DISTINCT slot), COUNT(*) FROM capturers WHERE session = 'shared'";
    let nodes = i64::try_from(HUBS * CAPTURERS).unwrap();
    assert_eq!(first(&archive, sql).await, [integer(nodes), integer(nodes)]);
    archive.close().await;
}
