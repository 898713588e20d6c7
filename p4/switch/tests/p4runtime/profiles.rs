//! Action profiles: members, groups, one-shots, watch ports (P4Runtime 9.2).

use p4runtime_proto::p4::v1::{
    self, TableEntry,
    action_profile_action_set::{ActionSelectionMode, SizeSemantics},
    action_profile_group::{Member, member},
    entity::Entity as Kind,
    table_action,
    update::Type,
};
use tonic::Code;

use crate::rig::{Rig, exact, frame, ipv4};

fn member(rig: &Rig, profile: &str, id: u32, port: u8) -> Kind {
    Kind::ActionProfileMember(v1::ActionProfileMember {
        action_profile_id: rig.profile(profile),
        member_id: id,
        action: Some(rig.call("forward", &[&[port]])),
    })
}

fn group(rig: &Rig, id: u32, max_size: i32, members: &[(u32, i32, &'static [u8])]) -> Kind {
    let members = members.iter().map(|(member_id, weight, port)| Member {
        member_id: *member_id,
        weight: *weight,
        watch_kind: (!port.is_empty()).then(|| member::WatchKind::WatchPort((*port).into())),
    });
    Kind::ActionProfileGroup(v1::ActionProfileGroup {
        action_profile_id: rig.profile("ecmp"),
        group_id: id,
        members: members.collect(),
        max_size,
    })
}

fn with(table: &str, rig: &Rig, key: u8, action: table_action::Type) -> TableEntry {
    TableEntry {
        table_id: rig.table(table),
        r#match: vec![exact(1, &[key])],
        action: Some(v1::TableAction { r#type: Some(action) }),
        ..Default::default()
    }
}

fn one_shot(rig: &Rig, actions: &[(u8, i32, &'static [u8])]) -> table_action::Type {
    let actions = actions.iter().map(|(port, weight, watch)| v1::ActionProfileAction {
        action: Some(rig.call("forward", &[&[*port]])),
        weight: *weight,
        watch_kind: (!watch.is_empty()).then(|| v1::action_profile_action::WatchKind::WatchPort((*watch).into())),
    });
    table_action::Type::ActionProfileActionSet(v1::ActionProfileActionSet {
        action_profile_actions: actions.collect(),
        ..Default::default()
    })
}

#[tokio::test]
async fn members_of_a_profile() {
    let mut rig = Rig::new().await;
    let one = member(&rig, "profile", 1, 3);
    assert_eq!(rig.write(Type::Modify, one.clone()).await, Err(Code::NotFound));
    assert_eq!(rig.write(Type::Insert, one.clone()).await, Ok(()));
    assert_eq!(rig.write(Type::Insert, one.clone()).await, Err(Code::AlreadyExists));
    let zero = member(&rig, "profile", 0, 3);
    assert_eq!(rig.write(Type::Insert, zero).await, Err(Code::InvalidArgument));
    let without = Kind::ActionProfileMember(v1::ActionProfileMember {
        action_profile_id: rig.profile("profile"),
        member_id: 2,
        action: None,
    });
    assert_eq!(rig.write(Type::Insert, without).await, Err(Code::InvalidArgument));
    for id in 2..=4 {
        let next = member(&rig, "profile", id, 3);
        assert_eq!(rig.write(Type::Insert, next).await, Ok(()));
    }
    let fifth = member(&rig, "profile", 5, 3);
    assert_eq!(rig.write(Type::Insert, fifth).await, Err(Code::ResourceExhausted));

    let entry = with("indirect", &rig, 2, table_action::Type::ActionProfileMemberId(1));
    let absent = with("indirect", &rig, 3, table_action::Type::ActionProfileMemberId(9));
    let group = with("indirect", &rig, 3, table_action::Type::ActionProfileGroupId(1));
    let direct = rig.entry("indirect", vec![exact(1, &[3])], rig.call("forward", &[&[1]]));
    let shot = with("indirect", &rig, 3, one_shot(&rig, &[(1, 1, b"")]));
    assert_eq!(rig.insert(&absent).await, Err(Code::NotFound));
    for wrong in [group, direct, shot] {
        assert_eq!(rig.insert(&wrong).await, Err(Code::InvalidArgument));
    }
    assert_eq!(rig.insert(&entry).await, Ok(()));
    assert_eq!(rig.all("indirect").await, [entry.clone()]);
    assert_eq!(rig.inject(1, &frame(1, 2, 0x1234))[0].0, 3);
    assert_eq!(rig.write(Type::Delete, one.clone()).await, Err(Code::FailedPrecondition));
    let moved = member(&rig, "profile", 1, 8);
    assert_eq!(rig.write(Type::Modify, moved.clone()).await, Ok(()));
    assert_eq!(rig.inject(1, &frame(1, 2, 0x1234))[0].0, 8);
    assert_eq!(rig.read(one.clone()).await.unwrap(), [moved]);
    let all = Kind::ActionProfileMember(v1::ActionProfileMember::default());
    assert_eq!(rig.read(all).await.unwrap().len(), 4);
    assert_eq!(rig.delete(&entry).await, Ok(()));
    assert_eq!(rig.write(Type::Delete, one.clone()).await, Ok(()));
    assert_eq!(rig.write(Type::Delete, one).await, Err(Code::NotFound));
}

#[tokio::test]
async fn groups_of_a_selector() {
    let mut rig = Rig::new().await;
    for id in 1..=3 {
        let member = member(&rig, "ecmp", id, id as u8);
        assert_eq!(rig.write(Type::Insert, member).await, Ok(()));
    }
    let bad = [
        (group(&rig, 0, 8, &[(1, 1, b"")]), Code::InvalidArgument),
        (group(&rig, 1, 0, &[(1, 1, b"")]), Code::InvalidArgument),
        (group(&rig, 1, 9, &[(1, 1, b"")]), Code::InvalidArgument),
        (group(&rig, 1, 8, &[(1, 0, b"")]), Code::InvalidArgument),
        (group(&rig, 1, 8, &[(1, -1, b"")]), Code::InvalidArgument),
        (group(&rig, 1, 8, &[(1, 1, b""), (1, 1, b"")]), Code::InvalidArgument),
        (group(&rig, 1, 8, &[(9, 1, b"")]), Code::NotFound),
        (group(&rig, 1, 8, &[(1, 1, &[77])]), Code::InvalidArgument),
        (group(&rig, 1, 2, &[(1, 3, b"")]), Code::ResourceExhausted),
    ];
    for (entity, code) in bad {
        assert_eq!(rig.write(Type::Insert, entity.clone()).await, Err(code), "{entity:?}");
    }
    let first = group(&rig, 1, 8, &[(1, 1, &[1]), (2, 2, b"")]);
    assert_eq!(rig.write(Type::Modify, first.clone()).await, Err(Code::NotFound));
    assert_eq!(rig.write(Type::Insert, first.clone()).await, Ok(()));
    assert_eq!(rig.write(Type::Insert, first.clone()).await, Err(Code::AlreadyExists));
    assert_eq!(rig.read(group(&rig, 1, 0, &[])).await.unwrap(), [first.clone()]);
    let resized = group(&rig, 1, 7, &[(1, 1, b"")]);
    assert_eq!(rig.write(Type::Modify, resized).await, Err(Code::InvalidArgument));
    let used = member(&rig, "ecmp", 1, 1);
    assert_eq!(rig.write(Type::Delete, used.clone()).await, Err(Code::FailedPrecondition));
    let entry = with("hop", &rig, 1, table_action::Type::ActionProfileGroupId(1));
    assert_eq!(rig.insert(&entry).await, Ok(()));
    assert_eq!(rig.write(Type::Delete, first.clone()).await, Err(Code::FailedPrecondition));
    let absent = with("hop", &rig, 2, table_action::Type::ActionProfileGroupId(2));
    assert_eq!(rig.insert(&absent).await, Err(Code::NotFound));
    let mixed = with("hop", &rig, 2, one_shot(&rig, &[(1, 1, b"")]));
    assert_eq!(rig.insert(&mixed).await, Err(Code::InvalidArgument));
    let second = group(&rig, 1, 8, &[(2, 2, b"")]);
    assert_eq!(rig.write(Type::Modify, second).await, Ok(()));
    // Member 1 is free again.
    assert_eq!(rig.write(Type::Delete, used).await, Ok(()));
    assert_eq!(rig.inject(1, &ipv4([1, 1, 1, 1]))[0].0, 2);
    assert_eq!(rig.delete(&entry).await, Ok(()));
    assert_eq!(rig.write(Type::Delete, first.clone()).await, Ok(()));
    assert_eq!(rig.write(Type::Delete, first).await, Err(Code::NotFound));
    // Groups need a selector.
    let Kind::ActionProfileGroup(given) = group(&rig, 1, 0, &[]) else { panic!() };
    let wrong = v1::ActionProfileGroup { action_profile_id: rig.profile("profile"), ..given };
    assert_eq!(rig.write(Type::Insert, Kind::ActionProfileGroup(wrong)).await, Err(Code::InvalidArgument));
}

#[tokio::test]
async fn one_shots_are_read_as_written_and_follow_their_ports() {
    let mut rig = Rig::new().await;
    let entry = with("hop", &rig, 1, one_shot(&rig, &[(4, 1, &[4]), (5, 2, &[5]), (4, 1, &[4])]));
    assert_eq!(rig.insert(&entry).await, Ok(()));
    assert_eq!(rig.all("hop").await, [entry.clone()]);
    // An entry reads back by itself, with its action, which is no filter.
    assert_eq!(rig.read(Kind::TableEntry(entry.clone())).await.unwrap(), [Kind::TableEntry(entry.clone())]);
    let all = Kind::ActionProfileMember(v1::ActionProfileMember::default());
    assert_eq!(rig.read(all).await.unwrap(), []);
    let ports = |rig: &Rig| {
        let mut ports: Vec<_> = (0..64).map(|n| rig.inject(1, &ipv4([1, 1, n, 1]))[0].0).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    };
    assert_eq!(ports(&rig), [4, 5]);
    // The switch itself leaves a member whose port is down, and comes back.
    rig.switch.set_port_up(4, false);
    assert_eq!(ports(&rig), [5]);
    assert_eq!(rig.all("hop").await, [entry.clone()]);
    rig.switch.set_port_up(4, true);
    assert_eq!(ports(&rig), [4, 5]);

    let bad = [
        (one_shot(&rig, &[(4, 0, b"")]), Code::InvalidArgument),
        (one_shot(&rig, &[(4, 9, b"")]), Code::InvalidArgument),
        (one_shot(&rig, &[(4, 1, &[77])]), Code::InvalidArgument),
    ];
    for (action, code) in bad {
        let entry = with("hop", &rig, 2, action);
        assert_eq!(rig.insert(&entry).await, Err(code));
    }
    let explicit = member(&rig, "ecmp", 1, 1);
    assert_eq!(rig.write(Type::Insert, explicit.clone()).await, Err(Code::InvalidArgument));
    // The selector's size is 64: eight sets of eight, the first of which counts four.
    for key in 2..=8 {
        let full = with("hop", &rig, key, one_shot(&rig, &[(4, 8, b"")]));
        assert_eq!(rig.insert(&full).await, Ok(()));
    }
    let over = with("hop", &rig, 9, one_shot(&rig, &[(4, 5, b"")]));
    assert_eq!(rig.insert(&over).await, Err(Code::ResourceExhausted));
    let changed = with("hop", &rig, 1, one_shot(&rig, &[(6, 8, b"")]));
    assert_eq!(rig.modify(&changed).await, Ok(()));
    assert_eq!(ports(&rig), [6]);
    for key in 1..=8 {
        let entry = with("hop", &rig, key, one_shot(&rig, &[]));
        assert_eq!(rig.delete(&entry).await, Ok(()));
    }
    assert_eq!(rig.write(Type::Insert, explicit).await, Ok(()));
}

#[tokio::test]
async fn one_shots_have_their_own_mode_size_and_first_action() {
    let mut rig = Rig::new().await;
    let set = |rig: &Rig, actions: &[(u8, i32, &'static [u8])]| match one_shot(rig, actions) {
        table_action::Type::ActionProfileActionSet(set) => set,
        other => panic!("{other:?}"),
    };
    let entry = |rig: &Rig, set| with("hop", rig, 1, table_action::Type::ActionProfileActionSet(set));
    let ports = |rig: &Rig| {
        let mut ports: Vec<_> = (0..200).map(|_| rig.inject(1, &ipv4([1, 1, 1, 1]))[0].0).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    };
    // One flow: by hash one member, at random all of them.
    let hashed = v1::ActionProfileActionSet {
        action_selection_mode: ActionSelectionMode::Hash.into(),
        ..set(&rig, &[(4, 1, b""), (5, 1, &[5]), (6, 1, b"")])
    };
    let random =
        v1::ActionProfileActionSet { action_selection_mode: ActionSelectionMode::Random.into(), ..hashed.clone() };
    assert_eq!(rig.insert(&entry(&rig, hashed)).await, Ok(()));
    assert_eq!(ports(&rig).len(), 1);
    let random = entry(&rig, random);
    assert_eq!(rig.modify(&random).await, Ok(()));
    assert_eq!(rig.all("hop").await, [random]);
    assert_eq!(ports(&rig), [4, 5, 6]);
    rig.switch.set_port_up(5, false);
    assert_eq!(ports(&rig), [4, 6]);
    rig.switch.set_port_up(5, true);

    // The selector counts weights, at most 8 for a group; a set may count its members instead.
    let heavy = set(&rig, &[(4, 100, b""), (5, 300, b"")]);
    assert_eq!(rig.modify(&entry(&rig, heavy.clone())).await, Err(Code::InvalidArgument));
    let members = v1::ActionProfileActionSet { size_semantics: SizeSemantics::SumOfMembers.into(), ..heavy.clone() };
    let many = v1::ActionProfileActionSet {
        action_profile_actions: vec![heavy.action_profile_actions[0].clone(); 9],
        ..members.clone()
    };
    assert_eq!(rig.modify(&entry(&rig, many)).await, Err(Code::InvalidArgument));
    let huge = v1::ActionProfileActionSet { action_selection_mode: 2, ..members.clone() };
    let huge = {
        let mut huge = huge;
        huge.action_profile_actions[0].weight = i32::MAX / 2;
        huge.action_profile_actions[1].weight = i32::MAX;
        entry(&rig, huge)
    };
    assert_eq!(rig.modify(&huge).await, Ok(()));
    assert_eq!(rig.all("hop").await, [huge]);
    assert_eq!(ports(&rig), [4, 5]);

    // What runs before the chosen action stands where that does nothing.
    let mut first = set(&rig, &[(4, 1, b"")]);
    first.group_action = Some(rig.call("forward", &[&[9]]));
    first.action_profile_actions[0].action = Some(rig.call("NoAction", &[]));
    let first = entry(&rig, first);
    assert_eq!(rig.modify(&first).await, Ok(()));
    assert_eq!(rig.all("hop").await, [first]);
    assert_eq!(ports(&rig), [9]);
    for bad in [
        v1::ActionProfileActionSet { action_selection_mode: 3, ..heavy.clone() },
        v1::ActionProfileActionSet { size_semantics: 3, ..heavy.clone() },
        v1::ActionProfileActionSet { group_action: Some(rig.call("police", &[])), ..set(&rig, &[(4, 1, b"")]) },
    ] {
        assert_eq!(rig.modify(&entry(&rig, bad)).await, Err(Code::InvalidArgument));
    }
}
