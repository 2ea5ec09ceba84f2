//! From one hub's index to another's, whole, changed and cut short.

use proptest::prelude::*;

use super::*;

fn key(name: &str) -> Key {
    ("shop".into(), name.into())
}

fn pod(ip: [u8; 4]) -> Pod {
    Pod {
        uid: "u".into(),
        node: "one".into(),
        ips: vec![ip.into(), "fd00::7".parse().unwrap()],
        host_ips: vec![[10, 1, 0, 1].into()],
        host_ports: vec![80],
        host_network: false,
        owner: Some(("ReplicaSet".into(), "web-1".into())),
        containers: vec![("main".into(), "c0ffee".to_owned())],
        labels: vec![("app".into(), "web".into()), ("tier".into(), "front".into())],
        ended: false,
    }
}

fn filled() -> Arc<Workloads> {
    let workloads = Arc::new(Workloads::new(&v1::Filter::default()).unwrap());
    {
        let mut index = workloads.write();
        index.set_pod(&key("web-1-x"), pod([10, 0, 0, 1]));
        let service = Service { ips: vec![[10, 9, 0, 1].into()], ports: vec![80], node_ports: vec![30080] };
        index.set_service(&key("web"), service);
        let endpoints = vec![([10, 0, 0, 1].into(), true, Some("web-1-x".into()))];
        index.set_slice(&key("web-abc"), Slice { service: "web".into(), ports: vec![8080], endpoints });
        index.set_node(&"one".into(), vec![[10, 1, 0, 1].into()]);
        index.set_owner("ReplicaSet", key("web-1"), Some(("Deployment".into(), "web".into())));
    }
    workloads.listed.send_replace(BEFORE_PODS);
    workloads
}

/// Everything that an index knows, in a form to be compared.
fn known(workloads: &Workloads) -> v1::Facts {
    let index = workloads.read();
    let mut items: Vec<_> = index.items().collect();
    items.sort();
    let mut facts = v1::Facts::default();
    for item in &items {
        add(&mut facts, &index, item);
    }
    assert!(facts.gone.is_empty());
    facts
}

#[tokio::test]
async fn another_hub_knows_the_same() {
    let (leader, peer) = (filled(), Arc::new(Workloads::new(&v1::Filter::default()).unwrap()));
    let (mut telling, mut learning) = (leader.telling(), peer.learning());
    learning.take(telling.next().await);
    assert_eq!(known(&leader), known(&peer));
    assert_eq!(*peer.listed.borrow(), BEFORE_PODS);

    let remote = Some(v1::Endpoint { address: vec![10, 9, 0, 1], port: 80, ..Default::default() });
    let mut exchange = v1::Exchange { remote, ..Default::default() };
    peer.read().resolve(&mut exchange);
    let end = exchange.remote.unwrap();
    assert_eq!((end.service.as_str(), end.pod.as_str()), ("shop/web", "web-1-x"));

    leader.write().remove_service(&key("web"));
    leader.write().set_pod(&key("web-1-x"), Pod { ended: true, ..pod([10, 0, 0, 1]) });
    learning.take(telling.next().await);
    assert_eq!(known(&leader), known(&peer));
    assert!(peer.read().service(&key("web")).is_none());
}

#[tokio::test]
async fn what_a_new_leader_does_not_know_is_forgotten() {
    let (leader, peer) = (filled(), filled());
    peer.write().set_pod(&key("old"), pod([10, 0, 0, 9]));
    peer.write().set_node(&"old".into(), vec![[10, 1, 0, 9].into()]);
    let (mut telling, mut learning) = (leader.telling(), peer.learning());
    learning.take(telling.next().await);
    assert_eq!(known(&leader), known(&peer));
}

#[tokio::test]
async fn many_objects_take_several_messages_and_each_is_told_once() {
    let leader = filled();
    for number in 0..MESSAGE_OBJECTS * 2 {
        leader.write().set_pod(&key(&format!("pod-{number}")), pod([10, 0, 0, 1]));
    }
    let peer = Arc::new(Workloads::new(&v1::Filter::default()).unwrap());
    let (mut telling, mut learning) = (leader.telling(), peer.learning());
    let mut told = 0;
    loop {
        let facts = telling.next().await;
        told += facts.pods.len();
        let complete = facts.complete;
        assert_eq!(*peer.listed.borrow(), 0);
        learning.take(facts);
        if complete {
            break;
        }
    }
    assert_eq!(told, MESSAGE_OBJECTS * 2 + 1);
    assert_eq!(known(&leader), known(&peer));
}

#[tokio::test]
async fn a_follower_that_does_not_read_holds_each_object_once() {
    let leader = filled();
    let mut telling = leader.telling();
    while !telling.next().await.complete {}
    for last in 0..200 {
        leader.write().set_pod(&key("web-1-x"), pod([10, 0, 1, last]));
    }
    let facts = telling.next().await;
    assert_eq!((facts.pods.len(), facts.gone.len()), (1, 0));
    assert_eq!(facts.pods[0].ips[0], [10, 0, 1, 199]);
}

proptest! {
    #[test]
    fn addresses_survive(ip: IpAddr) {
        prop_assert_eq!(address(&octet(ip)), Some(ip));
    }
}
