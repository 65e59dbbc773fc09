//! Signs of masked gradients.

use gauntlet_domain::masking::{MaskingSign, MaskingWarning};
use gauntlet_proto::v1;
use gauntlet_proto::v1::report::Content;

use crate::house::House;
use crate::sweep_files::scratch_under;
use crate::worker::{is_training, result};

const EXAMPLES: usize = 40;

/// All right before; the first `fooled` fall.
fn fooling(fooled: usize, zero_gradient_examples: u64) -> Content {
    let outcomes = v1::Outcomes {
        label: vec![1; EXAMPLES],
        clean_prediction: vec![1; EXAMPLES],
        adversarial_prediction: (0..EXAMPLES).map(|index| u32::from(index >= fooled)).collect(),
        clean_loss: vec![0.1; EXAMPLES],
        adversarial_loss: vec![0.2; EXAMPLES],
        distance: vec![0.01; EXAMPLES],
    };
    Content::Attacked(v1::Attacked { outcomes: Some(outcomes), model_queries: 1, zero_gradient_examples })
}

/// Attacks with their sections and, by radius, how many examples they fool.
struct Attack {
    name: &'static str,
    section: &'static str,
    fooled: &'static [(&'static str, usize)],
    zero: u64,
}

const fn attack(name: &'static str, section: &'static str, fooled: &'static [(&'static str, usize)]) -> Attack {
    Attack { name, section, fooled, zero: 0 }
}

async fn warnings(attacks: &[Attack]) -> Vec<MaskingWarning> {
    let house = House::start().await;
    let sections: String = attacks
        .iter()
        .map(|attack| {
            let radii: Vec<&str> = attack.fooled.iter().map(|(eps, _)| *eps).collect();
            let Attack { name, section, .. } = attack;
            format!("[[attack]]\nname = \"{name}\"\nexamples = {EXAMPLES}\neps = {radii:?}\n{section}\n")
        })
        .collect();
    let sweep = house.submit(&scratch_under("s", &[0], &sections)).await.sweep_id;
    let report = |assign: &v1::Assign| {
        if is_training(assign) {
            return result(assign);
        }
        let (name, eps) = assign.label.rsplit_once(" · ").unwrap().1.split_once(' ').unwrap();
        let attack = attacks.iter().find(|attack| attack.name == name).unwrap();
        fooling(attack.fooled.iter().find(|(radius, _)| *radius == eps).unwrap().1, attack.zero)
    };
    house.worker("w1", 1).await.work_by(report).await;
    let request = v1::ListMaskingWarningsRequest { sweep_id: sweep };
    let answer = house.sweeps().await.list_masking_warnings(request).await.unwrap().into_inner();
    answer.warnings.into_iter().map(|warning| warning.try_into().unwrap()).collect()
}

fn short(warnings: &[MaskingWarning]) -> Vec<(MaskingSign, String, String)> {
    let at = |attack: &str, eps: &str| format!("{attack} {eps}");
    warnings
        .iter()
        .map(|w| {
            let other = w.other_attack.as_deref().map(|other| at(other, w.other_eps.as_deref().unwrap()));
            (w.kind, at(&w.attack, &w.eps), other.unwrap_or_default())
        })
        .collect()
}

const PGD: &str = "method = \"pgd\"";
const NOISE: &str = "method = \"noise\"";
const SQUARE: &str = "method = \"square\"";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_as_they_should_be_give_no_warning() {
    let attacks = [
        attack("pgd", PGD, &[("2/255", 10), ("4/255", 25), ("8/255", 24)]),
        attack("fgsm", "method = \"fgsm\"", &[("4/255", 15)]),
        attack("square", SQUARE, &[("4/255", 22)]),
        attack("noise", NOISE, &[("4/255", 2)]),
        Attack { zero: 2, ..attack("apgd", "method = \"apgd\"", &[("4/255", 25)]) },
    ];
    let found = warnings(&attacks).await;
    assert_eq!(
        short(&found),
        [],
        "one example more in the smaller ball is chance, and so is what square has over fgsm"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attack_that_weakens_as_its_ball_grows_is_in_doubt() {
    let found = warnings(&[attack("pgd", PGD, &[("8/255", 10), ("2/255", 20)])]).await;
    let expected = (MaskingSign::StrongerAtSmallerEps, "pgd 8/255".to_owned(), "pgd 2/255".to_owned());
    assert_eq!(short(&found), [expected]);
    let MaskingWarning { fooled_by_other_alone, fooled_by_attack_alone, p_value, examples, attacked, .. } = found[0];
    assert_eq!((fooled_by_other_alone, fooled_by_attack_alone, examples, attacked), (Some(10), Some(0), 40, 40));
    assert!((p_value.unwrap() - 0.001953125).abs() < 1e-12, "binom.test(10, 10) in R");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_beats_no_gradient_and_a_black_box_not_all_of_them() {
    let attacks = [
        attack("pgd", PGD, &[("4/255", 5), ("8/255", 5)]),
        attack("apgd", "method = \"apgd\"", &[("8/255", 30)]),
        attack("fgsm", "method = \"fgsm\"", &[("4/255", 3)]),
        attack("noise", NOISE, &[("4/255", 14)]),
        attack("square", SQUARE, &[("4/255", 13), ("8/255", 20)]),
    ];
    let sign = |kind, attack: &str, other: &str| (kind, attack.to_owned(), other.to_owned());
    let expected = [
        sign(MaskingSign::BlackBoxBeatsWhiteBox, "pgd 4/255", "square 4/255"),
        sign(MaskingSign::NoiseBeatsGradients, "pgd 4/255", "noise 4/255"),
        sign(MaskingSign::NoiseBeatsGradients, "fgsm 4/255", "noise 4/255"),
    ];
    assert_eq!(short(&warnings(&attacks).await), expected, "at 8/255 apgd is stronger than square");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_helps_nobody_and_gradients_are_not_zero() {
    let attacks = [
        Attack { zero: 3, ..attack("pgd", PGD, &[("4/255", 5)]) },
        attack("pgd-target", "method = \"pgd\"\ntarget = \"runner-up\"", &[("4/255", 25)]),
    ];
    let found = warnings(&attacks).await;
    let sign = |kind, attack: &str, other: &str| (kind, attack.to_owned(), other.to_owned());
    let expected = [
        sign(MaskingSign::TargetBeatsNoTarget, "pgd 4/255", "pgd-target 4/255"),
        sign(MaskingSign::ZeroGradients, "pgd 4/255", ""),
    ];
    assert_eq!(short(&found), expected);
    assert_eq!((found[1].zero_gradient_examples, found[1].attacked), (Some(3), 40));
}
