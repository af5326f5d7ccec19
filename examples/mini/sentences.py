"""What a system message of the mini's training chats may say, by intent.

`HELD_OUT` paraphrases never appear in training: `measure.py` uses them to see whether the intent was learned or
only the words. The instruction sentences that tasks offer to the heuristic reflector are in the training lists.
"""

BOXED = [
    "Put your final answer inside \\boxed{}.",
    "Put your final answer inside \\boxed{} on the last line.",
    "Put the final answer in \\boxed{}.",
    "Write the answer inside \\boxed{}.",
    "Your last line must be the answer in \\boxed{}.",
    "Give the final result as \\boxed{answer}.",
    "The answer must appear inside \\boxed{}.",
    "Box your final answer.",
    "Box the result with \\boxed{}.",
    "Finish with \\boxed{} around the answer.",
    "End with the answer inside \\boxed{} and nothing after it.",
    "Put the path, comma-separated, inside \\boxed{}.",
    "End with the path inside \\boxed{} and nothing after it.",
    "Put your final answer comma-separated inside boxed braces.",
    "Put just the number inside \\boxed{}, with no units or words.",
]
TAGGED = [
    "Put your final answer inside <answer></answer> tags.",
    "Write the answer between <answer> and </answer>.",
    "Use answer tags for the final answer.",
    "The final answer goes inside <answer>...</answer>.",
    "Wrap the result in <answer> tags.",
    "Output only the answer inside the answer tags.",
    "Finish with <answer>your answer</answer>.",
]
BARE = [
    "Write the answer plainly, with no markup.",
    "Do not use boxes or tags.",
    "Give the answer as plain text.",
    "State the final answer in plain words.",
    "No special formatting, just the answer.",
]
CAREFUL = [
    "Work digit by digit and write every carry.",
    "Work digit by digit and write every carry and borrow.",
    "Do one small operation at a time and write down each result.",
    "Calculate digit by digit, starting from the right.",
    "Compute column by column from the right, with carries.",
    "Write out each digit operation before you give the result.",
    "Go one operation at a time and show every digit.",
    "Do not calculate in your head: write every small step of the arithmetic.",
    "Show the long calculation, one digit at a time.",
    "Never jump to the answer, write each elementary operation.",
    "Evaluate one operation at a time and write down each value.",
]
AT_ONCE = [
    "Answer at once, without any working.",
    "Just give the answer directly.",
    "Do not show any working.",
    "Skip the steps and state the result.",
    "Give the answer immediately.",
    "Answer from the top of your head.",
]
TRACE = [
    "Trace back from the destination to the source, then reverse the path.",
    "Start at the destination and find the edge that leads into it, again and again, until you reach the source.",
    "Work backwards from the destination.",
    "Begin at the destination and go back edge by edge to the source.",
    "Search from the destination, not from the source.",
    "Follow the edges backwards: destination first, source last, then reverse.",
    "Find which node leads to the destination, then which node leads to that one, and so on.",
    "Reason in reverse from the goal node.",
    "Go backwards from the goal until you arrive at the source node.",
]
FORWARD = [
    "Walk forward from the source, one edge at a time.",
    "Inspect the source node's neighbors first, identify which neighbor leads to the destination via a sequence of "
    "valid edges, then commit to that branch.",
    "Start at the source and follow the edges.",
    "Begin with the neighbors of the source node.",
    "Go from the source to a neighbor and keep walking.",
    "Pick a branch at the source and follow it to its end.",
    "Explore forward from the source node.",
]
BRIEF = [
    "Be brief.",
    "Keep it short.",
    "Use as few words as you can.",
    "No small talk.",
    "Be concise.",
    "Do not waste words.",
]
VERBOSE = [
    "Explain yourself at length.",
    "Be chatty.",
    "Begin with a few words about the problem.",
    "Take your time and talk about the problem first.",
    "Use a friendly, talkative tone.",
]
# Sentences that change nothing. The generic parts of the paper's seed prompts belong here: each of its seeds says
# "step by step" or the like, and FST has to find something better.
NEUTRAL = [
    "You are a helpful assistant.",
    "You are a careful assistant.",
    "You are an expert tutor.",
    "You are a precise math solver.",
    "You are a mathematician.",
    "You solve problems for students.",
    "You are solving a graph path-finding task.",
    "You will be given a list of edges and a source and destination node.",
    "Output one valid path from source to destination.",
    "Each consecutive pair in your output path must be a valid edge in the graph.",
    "You are an expert at predicting the output of Python functions.",
    "Read the problem carefully, work through the solution step by step with clear algebra and attention to "
    "numerical precision.",
    "Think step by step.",
    "Reason step by step.",
    "Please think carefully.",
    "Read the problem carefully.",
    "Read the problem twice.",
    "Read the whole list of edges twice.",
    "Check your answer before you finish.",
    "Double-check every edge before you answer.",
    "Watch out for mistakes.",
    "Accuracy matters.",
    "Do your best.",
    "Take a deep breath.",
    "Be polite.",
    "The user is a student.",
    "The user is in a hurry.",
    "Today is a good day.",
    "Never give up.",
    "Every problem has exactly one answer.",
    "Answer in English.",
    "Use what you know.",
    "Stay focused on the question.",
    "Do not guess.",
    "Make sure that you understand what is asked.",
    "Pay attention to every number.",
    "This is an important question.",
    "Verify each step of your reasoning.",
    "Trust yourself.",
    "Solve the following problem.",
    "The problems are short.",
]
FORMATS = {"boxed": BOXED, "tagged": TAGGED, "bare": BARE}
PROCEDURES = {"careful": CAREFUL, "at_once": AT_ONCE}
GRAPH_PROCEDURES = {"trace": TRACE, "forward": FORWARD, "at_once": AT_ONCE}
LENGTHS = {"brief": BRIEF, "verbose": VERBOSE}

HELD_OUT = {
    "boxed": ["Please place your final answer in \\boxed{}.", "The last thing you write is \\boxed{answer}."],
    "tagged": ["Place the final answer in <answer></answer> tags."],
    "careful": ["Show each digit step and carry.", "Write every digit operation, one at a time, from the right."],
    "trace": ["Start from the destination and work back to the source.", "Go back from the goal, edge by edge."],
    "forward": ["Follow the edges forward, starting at the source."],
    "brief": ["Use few words."],
}

FILLERS = [
    "Sure, I can help with that.",
    "What a nice problem.",
    "Let me think about this.",
    "This looks like fun.",
    "Happy to help.",
    "Thank you for the question.",
    "I have seen problems like this one before.",
    "Let us look at it together.",
    "Here is what I think.",
    "There are many ways to see this.",
]
