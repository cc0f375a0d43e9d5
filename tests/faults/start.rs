//! Starts without a part: the worker waits, says what for, and goes on when it comes.

use std::time::Instant;

use crate::database::parts_on;
use crate::deployment::{Deployment, Parts};
use crate::load::ALL;
use crate::scene::{DEADLINES, Scene};
use crate::services;
use crate::table::Measured;

pub(crate) async fn no_primary() -> Measured {
    let members = services::three_members().await;
    let deployment = Deployment::prepared(parts_on(&members), &[DEADLINES]).await;
    let mut scene = Scene::of(deployment, &[], 0).await;
    let down: Vec<_> = members.members().iter().skip(1).collect();
    for member in &down {
        member.stop().await;
    }
    scene.start().await;
    scene.readiness_says(&["waiting for"]).await;
    scene.livez_answers().await;
    for member in &down {
        member.restart().await.expect("it starts again");
    }
    let whole = scene.all_work(Instant::now()).await;
    let measured = scene.end(whole).await;
    members.stop().await;
    measured
}

pub(crate) async fn no_broker() -> Measured {
    let broker = services::plain().broker();
    let deployment = Deployment::prepared(Parts::shared(), &[DEADLINES]).await;
    let mut scene = Scene::of(deployment, &[], 0).await;
    scene.load.pause(&ALL).await;
    broker.stop().await;
    scene.start().await;
    scene.readiness_says(&["waiting for"]).await;
    scene.livez_answers().await;
    broker.restart().await.expect("it starts again");
    let began = Instant::now();
    scene.load.resume().await;
    let whole = scene.all_work(began).await;
    scene.end(whole).await
}

pub(crate) async fn no_registry() -> Measured {
    let registry = services::plain().registry_process();
    let deployment = Deployment::prepared(Parts::shared(), &[DEADLINES]).await;
    let mut scene = Scene::of(deployment, &[], 0).await;
    registry.freeze().await;
    scene.start().await;
    scene.readiness_says(&["waiting for"]).await;
    scene.livez_answers().await;
    registry.thaw().await;
    let whole = scene.all_work(Instant::now()).await;
    scene.end(whole).await
}
