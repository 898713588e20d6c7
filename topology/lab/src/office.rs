//! A whole office: the lab of a blueprint, with the controller that runs it.

use crate::cli::UpContext;
use crate::error::LabError;
use crate::intents::with_endpoints;
use crate::spec::{ControllerSpec, Forward, LabSpec};
use crate::state;
use std::net::SocketAddr;

/// The completed blueprint's name in the lab's folder.
const BLUEPRINT: &str = "blueprint.yaml";

/// How `pergola run` is started in a lab.
pub fn controller(context: &UpContext) -> ControllerSpec {
    let args = [
        "run".to_owned(),
        "--lab".to_owned(),
        "--init".to_owned(),
        context.blueprint.display().to_string(),
        "--data".to_owned(),
        context.data.display().to_string(),
        "--listen".to_owned(),
        context.listen.to_string(),
    ];
    ControllerSpec { args: args.to_vec(), ready: Some(context.listen), ..ControllerSpec::default() }
}

/// The lab of a blueprint with its controller, whose API is at `listen` in the lab and on this machine.
///
/// # Errors
/// What is wrong with the blueprint; what [`LabSpec::from_view`] finds.
pub fn office(name: &str, blueprint: &str, listen: SocketAddr) -> Result<LabSpec, LabError> {
    let parsed = pergola_blueprint::parse(blueprint).map_err(|problems| LabError::Blueprint(problems.to_string()))?;
    let view = with_endpoints(&parsed);
    let mut spec = LabSpec::from_view(name, &view)?;
    let folder = state::folder(name);
    let context = UpContext { blueprint: folder.join(BLUEPRINT), data: folder.join("controller"), listen };
    let mut controller = controller(&context);
    controller.files.insert(BLUEPRINT.to_owned(), pergola_blueprint::export(&view));
    spec.controller = Some(controller);
    spec.forwards.push(Forward { listen, to: listen });
    Ok(spec)
}
