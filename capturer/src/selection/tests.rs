//! Decisions about control groups, as the hub's table changes and time passes.

use super::*;
use crate::identity::cgroups::PodPlace;

const HOST: &str = "/system.slice/nginx.service";
const SHOP: &str = "4b1f3a52-0c7e-4f2a-9d11-0123456789ab";
const OTHER: &str = "5c1f3a52-0c7e-4f2a-9d11-0123456789ab";
const MS: u64 = 1_000_000;

/// A container id made of one digit.
fn id(digit: char) -> String {
    digit.to_string().repeat(64)
}

fn path(uid: &str, container: char) -> String {
    format!("/kubepods/burstable/pod{uid}/{}", id(container))
}

fn place(path: &str) -> Place {
    Place::from_inside(path.rsplit('/'))
}

fn pod(uid: &str, name: &str, containers: &[(char, &str)]) -> v1::Pod {
    let container =
        |(digit, name): &(char, &str)| v1::PodContainer { id: id(*digit), name: (*name).to_owned() };
    v1::Pod {
        uid: uid.to_owned(),
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        workload: "Deployment/orders".to_owned(),
        containers: containers.iter().map(container).collect(),
        wanted: true,
        ours: false,
    }
}

fn all(pods: Vec<v1::Pod>) -> v1::NodePods {
    v1::NodePods { complete: true, pods, gone: Vec::new(), ..Default::default() }
}

fn more(pods: Vec<v1::Pod>) -> v1::NodePods {
    v1::NodePods { complete: false, pods, gone: Vec::new(), ..Default::default() }
}

fn selection(host_processes: bool, containers: &[&str]) -> Selection {
    let containers = containers.iter().map(|name| (*name).to_owned()).collect();
    let matching = Match::try_from(&v1::Filter { containers, ..v1::Filter::default() }).unwrap();
    Selection::new(Some(Rules { host_processes, matching }), PathBuf::from("/nonexistent"))
}

fn origin(selection: &Selection, cgroup: u64) -> v1::Origin {
    let mut origin = v1::Origin::default();
    selection.inscribe(cgroup, &mut origin);
    origin
}

#[test]
fn outside_of_clusters_everything_is_wanted_and_containers_are_known() {
    let mut selection = Selection::new(None, PathBuf::from("/nonexistent"));
    selection.announced(1, place(&format!("/docker/{}", id('a'))), 0);
    for cgroup in [0, 1, 2] {
        assert_eq!(
            (selection.standing(cgroup), selection.decision(cgroup)),
            (Standing::Wanted, Decision::Pass)
        );
    }
    assert!(selection.changes().is_empty(), "the kernel does not ask");
    assert_eq!(origin(&selection, 1).container_id, id('a'));
    assert_eq!(origin(&selection, 2), v1::Origin::default());
}

#[test]
fn host_processes_are_decided_at_once() {
    for (host_processes, standing) in [(true, Standing::Wanted), (false, Standing::Unwanted)] {
        let mut selection = selection(host_processes, &[]);
        selection.announced(1, place(HOST), 0);
        assert_eq!(selection.changes(), [(1, standing)]);
        assert_eq!(selection.decision(1), if host_processes { Decision::Pass } else { Decision::Drop });
    }
}

#[test]
fn a_pod_is_what_the_hub_says_of_it() {
    let mut selection = selection(true, &[]);
    let unwanted = v1::Pod { wanted: false, ..pod(OTHER, "other", &[('b', "main")]) };
    selection.tell(all(vec![pod(SHOP, "orders-1", &[('a', "web")]), unwanted]), 0);
    selection.announced(1, place(&path(SHOP, 'a')), 5);
    selection.announced(2, place(&path(OTHER, 'b')), 5);
    assert_eq!(selection.changes(), [(1, Standing::Wanted), (2, Standing::Unwanted)]);
    assert_eq!((selection.decision(1), selection.decision(2)), (Decision::Pass, Decision::Drop));
    let v1::Origin { namespace, pod, container, workload, container_id, .. } = origin(&selection, 1);
    assert_eq!([namespace, pod, container, workload], ["shop", "orders-1", "web", "Deployment/orders"]);
    assert_eq!(container_id, id('a'));
}

#[test]
fn sessions_of_kyanos_are_left_out_though_selected() {
    let mut selection = selection(true, &[]);
    let ours = v1::Pod { ours: true, ..pod(SHOP, "hub", &[('a', "hub")]) };
    selection.announced(1, place(&path(SHOP, 'a')), 0);
    selection.tell(all(vec![ours]), 5);
    assert_eq!(selection.changes(), [(1, Standing::Ours)]);
    assert_eq!(selection.standing(1).placement(), placement::OURS);
}

#[test]
fn before_the_hub_tells_pods_are_undecided_however_long() {
    let mut selection = selection(true, &[]);
    selection.announced(1, place(&path(SHOP, 'a')), 0);
    selection.advance(10 * UNDECIDED_NS);
    assert_eq!((selection.standing(1), selection.decision(1)), (Standing::Undecided, Decision::Hold));
    selection.tell(all(Vec::new()), 11 * UNDECIDED_NS);
    assert_eq!(selection.standing(1), Standing::Undecided, "it may have started just now");
    selection.advance(12 * UNDECIDED_NS);
    assert_eq!(selection.changes(), [(1, Standing::Unwanted)]);
}

#[test]
fn a_pod_of_no_table_is_undecided_for_a_while_and_decided_again_when_told() {
    let mut selection = selection(true, &[]);
    selection.tell(all(Vec::new()), 0);
    let start = 50 * UNDECIDED_NS;
    selection.announced(1, place(&path(SHOP, 'a')), start);
    selection.advance(start + UNDECIDED_NS - 1);
    assert_eq!((selection.standing(1), selection.changes().len()), (Standing::Undecided, 0));
    selection.advance(start + UNDECIDED_NS);
    assert_eq!((selection.decision(1), selection.changes()), (Decision::Drop, vec![(1, Standing::Unwanted)]));
    selection.tell(more(vec![pod(SHOP, "orders-1", &[('a', "web")])]), start + 2 * UNDECIDED_NS);
    assert_eq!(selection.changes(), [(1, Standing::Wanted)]);
    assert_eq!(selection.decision(1), Decision::Pass);
}

#[test]
fn a_new_container_waits_for_its_name_but_not_for_long() {
    let mut selection = selection(true, &[]);
    selection.tell(all(vec![pod(SHOP, "orders-1", &[])]), 0);
    let start = 5_000 * MS;
    for (cgroup, container) in [(1, 'a'), (2, 'b')] {
        selection.announced(cgroup, place(&path(SHOP, container)), start);
    }
    assert_eq!(selection.changes(), [(1, Standing::Wanted), (2, Standing::Wanted)], "captured at once");
    assert_eq!((selection.decision(1), selection.decision(2)), (Decision::Hold, Decision::Hold));
    selection.tell(more(vec![pod(SHOP, "orders-1", &[('a', "web")])]), start + 300 * MS);
    assert_eq!((selection.decision(1), selection.decision(2)), (Decision::Pass, Decision::Hold));
    assert_eq!(origin(&selection, 1).container, "web");
    selection.advance(start + UNNAMED_NS);
    assert_eq!(selection.decision(2), Decision::Pass);
    assert_eq!(
        (origin(&selection, 2).pod.as_str(), origin(&selection, 2).container.as_str()),
        ("orders-1", "")
    );
    selection.tell(more(vec![pod(SHOP, "orders-1", &[('a', "web"), ('b', "side")])]), start + 3_000 * MS);
    assert_eq!(origin(&selection, 2).container, "side");
    assert!(selection.changes().is_empty());
}

#[test]
fn a_test_on_container_names_takes_only_named_ones() {
    let mut selection = selection(true, &["web"]);
    selection.tell(all(vec![pod(SHOP, "orders-1", &[('a', "web"), ('b', "side")])]), 0);
    for (cgroup, container) in [(1, 'a'), (2, 'b'), (3, 'c')] {
        selection.announced(cgroup, place(&path(SHOP, container)), 5);
    }
    assert_eq!(selection.changes(), [(1, Standing::Wanted), (2, Standing::Unwanted)]);
    assert_eq!(selection.standing(3), Standing::Undecided);
    selection.advance(5 + UNDECIDED_NS);
    assert_eq!(selection.changes(), [(3, Standing::Unwanted)]);
    selection.tell(more(vec![pod(SHOP, "orders-1", &[('b', "side"), ('c', "web")])]), 6 * UNDECIDED_NS);
    assert!(selection.changes().contains(&(3, Standing::Wanted)), "it restarted");
}

#[test]
fn a_change_of_the_selection_is_followed_both_ways() {
    let mut selection = selection(true, &[]);
    let wanted = pod(SHOP, "orders-1", &[('a', "web")]);
    selection.tell(all(vec![wanted.clone()]), 0);
    selection.announced(1, place(&path(SHOP, 'a')), 5);
    for told in [false, true, false] {
        selection.changes();
        selection.tell(more(vec![v1::Pod { wanted: told, ..wanted.clone() }]), 10);
        let standing = if told { Standing::Wanted } else { Standing::Unwanted };
        assert_eq!(selection.changes(), [(1, standing)]);
    }
}

#[test]
fn a_pod_that_is_gone_is_followed_to_its_last_word() {
    let mut selection = selection(true, &[]);
    selection.tell(all(vec![pod(SHOP, "orders-1", &[('a', "web")])]), 0);
    selection.announced(1, place(&path(SHOP, 'a')), 5);
    selection.tell(v1::NodePods { gone: vec![SHOP.to_owned()], ..v1::NodePods::default() }, 10);
    selection.advance(20 * UNDECIDED_NS);
    selection.tell(all(Vec::new()), 30 * UNDECIDED_NS);
    assert_eq!(selection.changes(), [(1, Standing::Wanted)]);
    assert_eq!(origin(&selection, 1).pod, "orders-1");
}

#[test]
fn pods_of_other_nodes_on_this_kernel_are_never_wanted() {
    let mut selection = selection(true, &[]);
    selection.tell(all(vec![pod(SHOP, "orders-1", &[('a', "web")])]), 0);
    let mut theirs = place(&path(OTHER, 'b'));
    theirs.pods.push(PodPlace { uid: "another-nodes-own-pod".to_owned(), container_id: id('c') });
    selection.announced(1, theirs, 5);
    selection.announced(2, place(&path(SHOP, 'a')), 5);
    selection.advance(5 + UNDECIDED_NS);
    assert_eq!((selection.standing(1), selection.standing(2)), (Standing::Unwanted, Standing::Wanted));
}

#[test]
fn a_group_that_nobody_told_of_is_looked_up_and_else_given_up() {
    let proc = tempfile::tempdir().unwrap();
    let rules = Rules { host_processes: false, matching: Match::default() };
    let mut selection = Selection::new(Some(rules), proc.path().to_owned());
    selection.tell(all(vec![pod(SHOP, "orders-1", &[('a', "web")])]), 0);
    fs::create_dir(proc.path().join("7")).unwrap();
    fs::write(proc.path().join("7/cgroup"), format!("4:memory:{}\n0::/\n", path(SHOP, 'a'))).unwrap();
    selection.sighted(1, 7, 5);
    selection.sighted(2, 8, 5);
    assert_eq!((selection.standing(1), selection.standing(2)), (Standing::Wanted, Standing::Undecided));
    selection.advance(5 + UNDECIDED_NS);
    assert_eq!(selection.standing(2), Standing::Unwanted);
    selection.announced(2, place(&path(SHOP, 'a')), 6 * UNDECIDED_NS);
    assert_eq!(selection.standing(2), Standing::Wanted);
}

#[test]
fn the_end_leaves_nothing_undecided() {
    let mut selection = selection(true, &[]);
    selection.announced(1, place(&path(SHOP, 'a')), 0);
    selection.sighted(2, 1, 0);
    selection.conclude();
    assert_eq!((selection.decision(1), selection.decision(2)), (Decision::Drop, Decision::Drop));
}

#[test]
fn the_table_is_bounded_and_what_is_told_again_is_decided_again() {
    let mut selection = selection(true, &[]);
    for cgroup in 1..=2 * CGROUPS as u64 {
        selection.announced(cgroup, place(HOST), 0);
        selection.announced(cgroup, place(HOST), 0);
        assert!(selection.known.len() <= CGROUPS && selection.order.len() <= CGROUPS);
    }
    selection.changes();
    let last = 2 * CGROUPS as u64;
    selection.announced(last, place(HOST), 0);
    assert_eq!(selection.changes(), [(last, Standing::Wanted)], "the kernel had forgotten it");
}
