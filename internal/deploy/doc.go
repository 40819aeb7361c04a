// Package deploy keeps the functions that were sent to the platform: it
// receives a bundle, makes a deployment of it, switches a function from one
// deployment to the next and back, and forgets it. What is current is a
// [catalog.Source]; the image of a deployment stays the one that it was
// deployed with.
//
// It knows nothing of sandboxes, instances or HTTP: whoever runs functions
// tries a deployment out on its behalf ([Platform]).
//
// On disk, in one private folder:
//
//	NAME/record.json          which deployments are current and previous; it
//	                          alone decides, and is replaced in one step
//	NAME/3/bundle/            what was sent
//	NAME/3/function.toml      the bundle's, with the flags of the deploy
//	NAME/3/deployment.json    when, of what, which revision and image
//	.incoming/                uploads under way; emptied at start
//
// A numbered folder that no record names is left of a deploy that did not
// come to its end, and so is a function's folder without a record.
package deploy
