/// Gathers the beats of a stream into a frame for a pipeline that cannot stall.
/// Latency: the frame is there one cycle after its last beat. Rate: one beat per cycle, one frame per `Beats` cycles.
/// Back-pressure: takes no beat while a whole frame waits, except in the cycle in which the frame is taken.
/// frame_o holds from frame_valid_o until frame_take_i, which may come only while frame_valid_o. Reset drops what was gathered.
module frame_source #(
  parameter int unsigned BeatWidth = 8,  // bits of a beat that carry elements
  parameter int unsigned Beats     = 1   // beats of a frame, at least 1
) (
  input  logic                       clk_i,
  input  logic                       rst_ni,  // synchronous
  input  logic                       valid_i,
  output logic                       ready_o,
  input  logic [BeatWidth-1:0]       data_i,
  output logic                       frame_valid_o,
  input  logic                       frame_take_i,
  output logic [Beats*BeatWidth-1:0] frame_o  // beat 0 in the lowest bits
);
  if (Beats < 1 || BeatWidth < 1) begin : gen_check
    $error("frame_source: Beats and BeatWidth have to be at least 1");
  end

  logic full_q;
  logic beat, last;

  assign ready_o       = !full_q || frame_take_i;
  assign beat          = valid_i && ready_o;
  assign frame_valid_o = full_q;

  if (Beats == 1) begin : gen_single
    assign last = 1'b1;

    always_ff @(posedge clk_i) begin
      if (beat) frame_o <= data_i;
    end
  end else begin : gen_many
    localparam int unsigned CountWidth = $clog2(Beats);
    logic [CountWidth-1:0] count_q;

    assign last = count_q == CountWidth'(Beats - 1);

    always_ff @(posedge clk_i) begin
      if (!rst_ni) count_q <= '0;
      else if (beat) count_q <= last ? '0 : count_q + 1'b1;
    end

    always_ff @(posedge clk_i) begin
      if (beat) frame_o <= {data_i, frame_o[Beats*BeatWidth-1:BeatWidth]};
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) full_q <= 1'b0;
    else if (beat && last) full_q <= 1'b1;
    else if (frame_take_i) full_q <= 1'b0;
  end
endmodule
