"""The user's code, in whatever style, converted to one form that gradcheck and the audit use.

- `checked_functions`, `gradient_forms`, `torch_functions`: a function and its gradient, for gradcheck;
- `backward_pass`: a forward and a backward pass, for the audit; `network_functions`, `layer_functions`,
  `loss_functions` and `objects` are its styles, `attribute_names` says where objects keep their gradients;
- `object_methods`, `object_slots`, `object_parameters`, `object_gradients`: which methods of an object are the passes,
  what it holds, which of that are parameters, and which values the gradients belong to;
- `signatures`, `containers`: what functions take, and dicts, lists and tuples of arrays;
- `code_copies`: copies of the user's code, on which everything runs;
- `recording`, `recorded_run`: stand-ins for arrays, and what one recorded run gives;
- `new_values`: other values for the same passes; `program`: a Python file as a module;
- `program_parts`, `drawn_arguments`: what in a file can be audited, and small data for it;
- `training_scripts`: one iteration of the training loop of a script or a notebook; `updated_places`: what it updates.
"""
