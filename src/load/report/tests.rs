use super::super::options::tests::options;
use super::super::plan::people;
use super::*;
use std::time::Duration;

/// What a thread found of a meeting of three in which each sent 100 video and 50 audio packets,
/// and `(viewer, publisher, video packets received)` came.
fn found(heard: &[(u32, u32, u64)]) -> ThreadReport {
    let mut report = ThreadReport::new();
    report.asked = 3;
    report.joined = 3;
    report.whole = vec![0, 1, 2];
    report.sent = (0..3).map(|who| (who, [50, 100])).collect();
    report.wall = Duration::from_secs(1);
    report.cpu = Duration::from_millis(100);
    report.heard = heard
        .iter()
        .map(|&(viewer, publisher, received)| Heard {
            viewer,
            publisher,
            kind: Kind::Video,
            received,
            duplicated: 1,
            spanned: received + 2,
        })
        .collect();
    report
}

fn report(words: &str, found: ThreadReport, beside: &Beside) -> Report {
    let options = options(words);
    Report::new(&options, &people(&options), &[found], beside)
}

#[test]
fn what_was_sent_and_did_not_come_is_lost_and_what_never_came_is_silent() {
    let all = [(0, 1, 100), (0, 2, 100), (1, 0, 99), (1, 2, 100), (2, 0, 100)];
    let report = report("meeting --people 3", found(&all), &Beside::default());
    assert_eq!((report.video.streams, report.video.silent), (6, 1));
    assert_eq!((report.video.expected, report.video.received), (500, 499));
    assert_eq!((report.video.lost, report.video.duplicated), (Some(1), 5));
    assert_eq!((report.audio.streams, report.audio.silent), (6, 6));
    assert_eq!(report.audio.lost_percent, None, "nothing was expected");
}

#[test]
fn who_was_not_there_all_the_time_counts_for_nothing() {
    let mut found = found(&[(0, 1, 100), (2, 0, 5), (0, 2, 5)]);
    found.whole = vec![0, 1];
    let report = report("meeting --people 3", found, &Beside::default());
    assert_eq!((report.video.streams, report.video.silent), (2, 1));
    assert_eq!((report.video.expected, report.video.lost), (100, Some(0)));
}

#[test]
fn under_simulcast_only_gaps_within_a_layer_are_lost() {
    let found = found(&[(0, 1, 60)]);
    let report = report("meeting --people 3 --simulcast", found, &Beside::default());
    assert_eq!((report.video.expected, report.video.lost), (62, Some(2)));
}

#[test]
fn a_client_that_stood_in_the_way_spoils_the_figures_and_says_so() {
    let clean = report("meeting --people 3", found(&[(0, 1, 90)]), &Beside::default());
    assert_eq!(clean.spoiled, Vec::<String>::new());
    let mut late = found(&[(0, 1, 90)]);
    (0..10).for_each(|_| late.lag.record(9_000_000));
    let mut busy = found(&[(0, 1, 90)]);
    busy.cpu = Duration::from_millis(950);
    let mut dropped = found(&[(0, 1, 90)]);
    dropped.ears.counted = 90;
    let drops = Beside { drops: Some(1), ..Beside::default() };
    for (found, beside, why) in [
        (late, Beside::default(), "late"),
        (busy, Beside::default(), "busy"),
        (dropped, drops, "dropped"),
    ] {
        let report = report("meeting --people 3", found, &beside);
        assert!(report.spoiled.len() == 1 && report.spoiled[0].contains(why), "{report:?}");
        assert_eq!((report.video.lost, report.video.received), (None, 90));
        let text = report.to_string();
        assert!(text.starts_with("NOT THE SERVER'S FIGURES") && text.contains("spoiled"), "{text}");
        let json = serde_json::to_value(&report).unwrap();
        assert!(json["video"]["lost"].is_null() && json["joinMs"].is_null());
    }
}
